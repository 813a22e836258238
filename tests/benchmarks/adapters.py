"""What an event costs to decode and to fold: each provider's adapter, facts, and both folds.

Records are made of the example payloads, in the proportions of a usual feed, and go through the
worker's own decoder, which ends in Arrow columns. Processor time, not wall time, so that what else
runs on the machine counts little; the fastest of several rounds, since a disturbance only adds.
"""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle, groupby, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console

from deploy.local.addresses import free_port
from processor.demo.traffic import Pace, in_order, messages
from processor.intake.decoder import Decoder
from processor.kafka.topics import MAILER_CHANNELS, feed_topic
from processor.settings import IntakeSettings
from projections.clickhouse.ddl import Target, fold_select
from projections.clickhouse.migrate import migrate
from projections.clickhouse.store import insert_rows
from projections.status import fold_message
from projections.tables import KEY, projections
from projections.tables.events import TABLE as EVENTS
from schemas.providers import adapters, normalise
from tests.benchmarks.report import BenchmarkError, Options, Result
from tests.chunks import chunk_of
from tests.clickhouse import Database, connect_to
from tests.contract.test_batches import BATCHES
from tests.paths import PAYLOADS

NAME = "adapters"
START = datetime(2026, 11, 1, tzinfo=UTC)
CHUNK_EVENTS = 2_000  # as a fetch of a busy partition has them
BATCH_ELEMENTS = 50
#: How often each kind comes in a hundred events; a provider that lacks one sends more of the rest.
USUAL = {
    "email": {"delivery": 60, "open": 25, "click": 10, "bounce": 5},
    "sms": {"sent": 45, "delivery": 50, "undelivered": 3, "rejected": 1, "failed": 1},
}
PER = 100_000
#: No adapter may cost more than so many times what SES costs.
MAX_TIMES_SES = 2.0
#: Of these a record is no small JSON: a whole mail, whose headers alone cost ten times as much to
#: parse, and several lines of a log.
MAX_TIMES_SES_OF: Final = {"reports": 20.0, "postfix": 3.0}
FOLDED_EVENTS = 200_000  # in the engine


class Record(NamedTuple):
    """A Kafka record, as far as the decoder looks at it."""

    topic: str
    offset: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int = 0
    timestamp: int = 1_793_000_000_000


def run(options: Options, console: Console) -> Result:
    """Measure everything. Raises `BenchmarkError` if an adapter is too slow."""
    rounds = max(3, options.repeated(7))
    decoder = Decoder(IntakeSettings(), max_record_bytes=8_388_608)
    rows = []
    for provider in adapters():
        console.print(f"decoding {provider}")
        rows += feeds(provider, decoder, rounds)
    console.print("decoding facts, folding in Python")
    rows += mailer_events(decoder, rounds)
    console.print("folding in the engine")
    rows += engine_folds(options.repeated(3))
    ses = next(row["microseconds"] for row in rows if row["what"] == "ses, single")
    for row in rows:
        row["of_ses"] = row["microseconds"] / ses
    decoded = [row for row in rows if row["what"].partition(",")[0] in adapters()]
    if slow := [f"{row['what']} {row['of_ses']:.2f}" for row in decoded if is_slow(row)]:
        raise BenchmarkError(f"costs too many times what an event of SES does: {'; '.join(slow)}")
    folded = f"the fold in the engine is of {FOLDED_EVENTS:,} facts"
    return {
        "title": "Processor time of an event: decoding to Arrow columns, and folding",
        "rows": rows,
        "columns": {
            "what": ("what", ""),
            "microseconds": ("µs per event", ".2f"),
            "seconds": (f"CPU s per {PER:,}", ".3f"),
            "of_ses": ("times SES", ".2f"),
        },
        "notes": [
            f"fastest of {rounds} rounds; feeds are mixed as usual: "
            + "; ".join(f"{c} {dict(shares)}" for c, shares in USUAL.items()),
            f"a batch holds {BATCH_ELEMENTS} elements; {folded}",
        ],
        "chart": {
            "title": "What an event costs",
            "panels": [
                {
                    "title": "Decoding and folding",
                    "kind": "bars",
                    "label": "what",
                    "values": {"microseconds": "processor time"},
                    "unit": "µs per event",
                }
            ],
        },
    }


def is_slow(row: dict[str, Any]) -> bool:
    provider = row["what"].partition(",")[0]
    limit: float = MAX_TIMES_SES_OF.get(provider, MAX_TIMES_SES)
    return row["of_ses"] > limit


def cost(what: str, act: Any, rounds: int, events: int = 0) -> dict[str, Any]:
    """Return what `act` costs per event; without `events`, it returns a decoded chunk."""
    events = events or act().events.num_rows
    again = max(1, 5_000 // events)
    used = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(again):
            act()
        used.append((time.process_time() - start) / again)
    return line(what, min(used) / events)


def line(what: str, seconds: float) -> dict[str, Any]:
    return {"what": what, "microseconds": seconds * 1e6, "seconds": seconds * PER}


# ------------------------------------------------------------------ providers' feeds


def feeds(provider: str, decoder: Decoder, rounds: int) -> list[dict[str, Any]]:
    """Return what an event of a provider costs to decode, alone in its record and in a batch."""
    return [
        cost(f"{provider}, {layout}", partial(decoder, chunk_of(feed(provider, payloads))), rounds)
        for layout, payloads in (("single", singles(provider)), ("batch", batches(provider)))
        if payloads
    ]


def usual(provider: str, by_kind: dict[str, list[Any]], count: int) -> list[Any]:
    """Return `count` of what there is by kind, mixed as usual."""
    shares = {k: n for k, n in USUAL[adapters()[provider].CHANNEL].items() if k in by_kind}
    whole = sum(shares.values())
    mixed = [
        payload
        for kind, share in shares.items()
        for payload in islice(cycle(by_kind[kind]), round(count * share / whole))
    ]
    # Turn about, as a feed has them, in an order that is always the same.
    return [mixed[place * 7919 % len(mixed)] for place in range(len(mixed))]


def cases(provider: str) -> list[dict[str, Any]]:
    files = sorted((PAYLOADS / provider).glob("*.json"))
    return [json.loads(path.read_text("utf-8")) for path in files]


def singles(provider: str) -> list[tuple[bytes, dict[str, str]]]:
    """Return payloads of one event each, with their headers."""
    by_kind: dict[str, list[Any]] = {}
    for case in cases(provider):
        if len(case["expected"]) == 1:
            payload = case["payload"].encode(), case.get("headers") or {}
            by_kind.setdefault(case["expected"][0]["kind"], []).append(payload)
    return usual(provider, by_kind, CHUNK_EVENTS) if by_kind else []


def batches(provider: str) -> list[tuple[bytes, dict[str, str]]]:
    """Return payloads of many events each; none where the provider does not batch."""
    if provider not in BATCHES:
        return []
    split, join = BATCHES[provider].split, BATCHES[provider].join
    by_kind: dict[str, list[Any]] = {}
    for case in cases(provider):
        for element in split(case["payload"]) if case["expected"] else ():
            alone = normalise(provider, join([element]).encode(), {}, START)
            if len(alone) == 1:
                by_kind.setdefault(alone[0].kind, []).append(element)
    mixed = usual(provider, by_kind, CHUNK_EVENTS) if by_kind else []
    starts = range(0, len(mixed), BATCH_ELEMENTS)
    return [(join(mixed[start : start + BATCH_ELEMENTS]).encode(), {}) for start in starts]


def feed(provider: str, payloads: list[tuple[bytes, dict[str, str]]]) -> list[Record]:
    topic = feed_topic(adapters()[provider].CHANNEL, provider)
    return [
        Record(topic, n, value, tuple((name, text.encode()) for name, text in headers.items()))
        for n, (value, headers) in enumerate(payloads)
    ]


# ------------------------------------------------------------------- facts and folds


def business(count: int) -> list[Record]:
    records = in_order(messages(1, START - timedelta(days=14), raw=False, pace=Pace(gap=1.0)))
    return [Record(r.topic, n, r.value) for n, r in enumerate(islice(records, count))]


def mailer_events(decoder: Decoder, rounds: int) -> list[dict[str, Any]]:
    """Return what mailers' events cost to decode, and to fold in Python."""
    records = business(4 * CHUNK_EVENTS)
    rows = []
    for topic, channel in MAILER_CHANNELS.items():
        chunk = chunk_of([record for record in records if record.topic == topic])
        rows.append(cost(f"facts, {channel}", partial(decoder, chunk), rounds))
        log = next(log for log in projections().values() if log.channel == channel)
        events = sorted(decoder(chunk).events.to_pylist(), key=key_of)
        events = [{n: text(v) for n, v in event.items()} for event in events]
        fold = partial(fold_all, log, events)
        rows.append(cost(f"fold in Python, {log.name}", fold, rounds, len(events)))
    return rows


def text(value: Any) -> Any:
    """Return a value of Arrow as the fold in Python takes it."""
    if isinstance(value, bytes):
        return value.decode()
    return [text(element) for element in value] if isinstance(value, list) else value


def key_of(event: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(event[name] for name in KEY)


def fold_all(log: Any, events: list[dict[str, Any]]) -> None:
    for _, group in groupby(events, key_of):
        fold_message(log, group)


def engine_folds(rounds: int) -> list[dict[str, Any]]:
    """Return what the fold of each log costs in the engine: processor time of its process."""
    rows = []
    decoder = Decoder(IntakeSettings(), max_record_bytes=1_048_576)
    records = business(FOLDED_EVENTS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(Database(f"http://127.0.0.1:{free_port()}", folder))
        client = connect_to(engine.url)
        target = Target("bench")
        list(migrate(client, target))
        for topic in MAILER_CHANNELS:
            chunk = chunk_of([record for record in records if record.topic == topic])
            insert_rows(client, target.database, EVENTS, decoder(chunk).events)
        for log in projections().values():
            sql = f"SELECT count() FROM bench.events WHERE channel = '{log.channel}'"
            count = client.query(sql).result_rows[0][0]
            statement = f"{fold_select(log, 'bench.events')} FORMAT Null"
            used = [processor_seconds_of(client, statement) for _ in range(rounds)]
            rows.append(line(f"fold in the engine, {log.name}", min(used) / count))
    return rows


def processor_seconds_of(client: Any, statement: str) -> float:
    """Return the processor time that the engine spends on a statement."""
    before = engine_seconds(client)
    client.command(statement)
    return engine_seconds(client) - before


def engine_seconds(client: Any) -> float:
    sql = (
        "SELECT sum(value) / 1e6 FROM system.events "
        "WHERE event IN ('UserTimeMicroseconds', 'SystemTimeMicroseconds')"
    )
    return float(client.query(sql).result_rows[0][0])
