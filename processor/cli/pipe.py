"""`sendlog publish` and `sendlog normalise`: publish records, and try adapters."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, BinaryIO, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from processor.bounce_rules import bounce_rules_in_force
from processor.imports.mail_sources import (
    PostfixLog,
    SourceRecord,
    log_lines,
    mailbox_records,
    open_mailbox,
)
from processor.kafka.producer import SyncProducer, sync_producer
from processor.kafka.topics import MAILER_CHANNELS, feed_topic
from processor.settings import Settings, load
from schemas.bounces import BounceRules
from schemas.providers import (
    DEFAULT_TENANT_HEADER,
    Adapter,
    UnreadableError,
    adapters,
    decode,
    normalise,
)

_status = Console(stderr=True)
#: How often it is seen to that the broker has what was sent.
_FLUSH_RECORDS: Final = 1_000
_FLUSH_SECONDS: Final = 1.0


def publish_file(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="NDJSON files, a record per line; - for standard input."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Where to; by default by each fact's channel.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="The lines are raw bodies of this provider.")
    ] = None,
    mailbox: Annotated[
        Path | None, typer.Option(help="Bounces and complaints: an mbox file or a Maildir.")
    ] = None,
    postfix: Annotated[
        Path | None, typer.Option(help="A log of Postfix; - for standard input, as of tail -F.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Whose a mailbox or log is, where it does not say.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Of a log without zones; by default this machine's.")
    ] = None,
) -> None:
    """Publish message events, a JSON object per line, or what a provider or mail server has.

    What is published goes out as it is: what is wrong with it is said in the dead letters. What is
    published again counts once.
    """
    settings = load()
    bounce_rules_in_force(settings)  # a worker would fail on wrong ones, so fail before it does
    if sum(source is not None for source in (files, mailbox, postfix)) != 1:
        raise UnreadableError("say what to publish: files, --mailbox or --postfix")
    if mailbox is not None:
        _publish_mailbox(settings, mailbox, tenant)
    elif postfix is not None:
        _publish_postfix(settings, postfix, tenant, timezone)
    else:
        _publish_lines(settings, files or [], topic, provider)


def _publish_lines(
    settings: Settings, files: list[Path], topic: str | None, provider: str | None
) -> None:
    if provider is not None:
        topic = feed_topic(_adapter_of(provider).CHANNEL, provider)
    count = 0
    with sync_producer(settings.kafka) as send:
        for file in files:
            with _opened(file) as source:
                for line in source:
                    if line.strip():
                        send(topic or _topic_of(line), line.rstrip(b"\r\n"))
                        count += 1
    _status.print("published; the worker takes it from here")
    print(f"published {count:,} records")


def _publish_mailbox(settings: Settings, path: Path, tenant: str | None) -> None:
    """Publish each mail, and say what they are."""
    kafka, counts = settings.kafka, Counter[str]()
    box = open_mailbox(path)
    records = mailbox_records(box, kafka.max_record_bytes, settings.gateway.verp)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=_status, transient=True, disable=not _status.is_terminal,
    )  # fmt: skip
    with sync_producer(kafka) as send, bar:
        for record in bar.track(records, total=len(box), description="publishing mails"):
            _send(send, "reports", record, tenant)
            decoded = decode(adapters()["reports"], record.value, record.headers, 0, "default")
            counts["published"] += 1
            counts["reports"] += bool(decoded.events)
            counts["unreadable"] += bool(decoded.rejected)
            counts["other"] += not (decoded.events or decoded.rejected)
            counts["unmatched"] += sum(not event["message_id"] for event in decoded.events)
            if not counts["published"] % _FLUSH_RECORDS:
                send.flush()
    _status.print(
        f"{counts['reports']:,} reports ({counts['unmatched']:,} events name no message), "
        f"{counts['unreadable']:,} that cannot be read, {counts['other']:,} other mails"
    )
    print(f"read {len(box):,} mails, published {counts['published']:,} records")


def _publish_postfix(
    settings: Settings, path: Path, tenant: str | None, timezone: str | None
) -> None:
    """Publish the deliveries of a log, of standard input as they come."""
    is_live = str(path) == "-"
    log = PostfixLog(_zone(timezone), settings.gateway.verp)
    line_count = record_count = 0
    with _opened(path) as source, sync_producer(settings.kafka) as send:
        written_at = datetime.fromtimestamp(0 if is_live else path.stat().st_mtime, UTC)
        flushed_at = monotonic()
        # Ctrl-C ends what follows a log; what was read is published.
        with suppress(KeyboardInterrupt):
            for text in log_lines(source):
                line_count += 1
                for record in log.records(text, datetime.now(UTC) if is_live else written_at):
                    _send(send, "postfix", record, tenant)
                    record_count += 1
                if monotonic() - flushed_at > _FLUSH_SECONDS:
                    send.flush()
                    flushed_at = monotonic()
    print(f"read {line_count:,} lines, published {record_count:,} records")


def _send(send: SyncProducer, provider: str, record: SourceRecord, tenant: str | None) -> None:
    headers = record.headers | ({DEFAULT_TENANT_HEADER: tenant} if tenant else {})
    pairs = [(name, value.encode()) for name, value in headers.items()]
    send(feed_topic(adapters()[provider].CHANNEL, provider), record.value, pairs)


def _opened(path: Path) -> BinaryIO:
    """Return a file that is open, or standard input for `-`."""
    if str(path) == "-":
        return sys.stdin.buffer
    try:
        return path.open("rb")
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from None


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (OSError, ValueError, ZoneInfoNotFoundError):
        raise UnreadableError(f"--timezone {name!r} is none; write it as Europe/Berlin") from None


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


def _adapter_of(provider: str) -> Adapter:
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
