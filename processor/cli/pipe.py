"""`sendlog publish` and `sendlog normalise`: publish records, and try adapters."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from processor.bounce_rules import bounce_rules_in_force
from processor.kafka.producer import sync_producer
from processor.kafka.topics import MAILER_CHANNELS, feed_topic
from processor.settings import load
from schemas.bounces import BounceRules
from schemas.providers import UnreadableError, adapters, normalise


def publish_file(
    files: Annotated[
        list[Path], typer.Argument(help="NDJSON files, a record per line; - for standard input.")
    ],
    topic: Annotated[
        str | None, typer.Option(help="Where to; by default by each fact's channel.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="The lines are raw bodies of this provider.")
    ] = None,
) -> None:
    """Publish message events, a JSON object per line, or raw bodies of a provider.

    Lines go out as they are: what is wrong with one is said in the dead letters.
    """
    settings = load()
    bounce_rules_in_force(settings)  # a worker would fail on wrong ones, so fail before it does
    if provider is not None:
        topic = feed_topic(_adapter_of(provider).CHANNEL, provider)
    count = 0
    with sync_producer(settings.kafka) as send:
        for file in files:
            source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
            with source:
                for line in source:
                    if line.strip():
                        send(topic or _topic_of(line), line.rstrip(b"\r\n"))
                        count += 1
    Console(stderr=True).print("published; the worker takes it from here")
    print(f"published {count:,} records")


def _topic_of(line: bytes) -> str:
    """Return the topic of an event; without a channel, that of email, for a dead letter."""
    try:
        channel = json.loads(line).get("channel")
    except (ValueError, AttributeError):
        channel = None
    return next(
        (topic for topic, name in MAILER_CHANNELS.items() if name == channel),
        next(iter(MAILER_CHANNELS)),
    )


def _adapter_of(provider: str) -> Any:
    if provider not in adapters():
        raise UnreadableError(
            f"no adapter for provider {provider!r}; there are: {', '.join(sorted(adapters()))}"
        )
    return adapters()[provider]


def normalise_payloads(
    provider: Annotated[str | None, typer.Option(help="Whose payload it is.")] = None,
    header: Annotated[
        list[str] | None, typer.Option(help="An HTTP header of the push, as name=value.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Many: NDJSON in, NDJSON out, a line for a line.")
    ] = False,
    tenant: Annotated[str, typer.Option(help="Whose, where the payload does not say.")] = "default",
) -> None:
    """Show what a provider's payload becomes: reads standard input, prints an event per line.

    With --batch each line in is {"provider": …, "headers": {…}, "payload": "…"}, and each line out
    {"events": […]} or {"error": "…"}.
    """
    now, rules = datetime.now(UTC), bounce_rules_in_force(load()).rules
    if batch:
        for line in sys.stdin:
            if line.strip():
                result = _normalise_line(line, now, tenant, rules)
                print(json.dumps(result, ensure_ascii=False), flush=True)
        return
    if provider is None:
        raise UnreadableError("say --provider, or --batch")
    pairs = [text.partition("=") for text in header or []]
    headers = {name.strip().lower(): value for name, _, value in pairs}
    body = sys.stdin.buffer.read()
    for event in normalise(provider, body, headers, now, tenant, rules=rules):
        print(event.model_dump_json())


def _normalise_line(line: str, now: datetime, tenant: str, rules: BounceRules) -> dict[str, Any]:
    try:
        case = json.loads(line)
        headers = {str(k).lower(): str(v) for k, v in (case.get("headers") or {}).items()}
        payload = str(case["payload"]).encode("utf-8", "surrogatepass")
        events = normalise(str(case["provider"]), payload, headers, now, tenant, rules=rules)
    except UnreadableError as error:
        return {"error": str(error)}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return {"error": f"not a line of a batch ({type(error).__name__}: {error})"}
    return {"events": [event.model_dump(mode="json") for event in events]}
