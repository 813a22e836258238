"""Raw records decoded by the installed adapters, and compared with the events that are stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from processor.intake.decoder import Decoder
from processor.kafka.records import Chunk, is_plausible, stated_ms
from processor.kafka.topics import feed_provider
from processor.replay.differences import Difference
from processor.replay.event_rows import COLUMNS, EventRow, content_of, rows_of, value_of
from processor.replay.records import RawRecord, chunks_of, with_time
from projections.queries.raw_records import events_with_keys
from schemas.events import iso_milliseconds

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

#: By what an event is known for another form of one: the first that agrees.
_LIKENESS: Final = (
    ("event_id",), ("kind", "recipient", "message_id"), ("kind", "recipient"), ("recipient",),
)  # fmt: skip
_RECORDED_AT: Final = COLUMNS.index("recorded_at")
#: Of an event's key, without its time.
_KEY_NAMES: Final = ("tenant_id", "channel", "kind")

#: Stored events by the offset of their record.
StoredEvents = Mapping[int, Sequence[EventRow]]


class DecodedRecord(NamedTuple):
    """A raw record, its events as they are stored and as they are decoded, and what is rejected."""

    record: RawRecord
    stored: Sequence[EventRow]
    decoded: Sequence[EventRow]
    reason: str


def by_offset(events: pa.Table) -> dict[int, list[EventRow]]:
    """Return stored events of one partition by the offset of their record."""
    offsets = events["source_offset"].to_pylist()
    stored: defaultdict[int, list[EventRow]] = defaultdict(list)
    for offset, row in zip(offsets, rows_of(events), strict=True):
        stored[offset].append(row)
    return stored


def decode_records(
    decode: Decoder, records: Sequence[RawRecord], stored: StoredEvents
) -> Iterator[DecodedRecord]:
    """Decode records of one partition as intake does, and yield each beside its stored events."""
    for topic, partition, of_chunk in chunks_of(records):
        events = [_events_of(record, stored.get(record.offset, ())) for record in of_chunk]
        dated = [
            with_time(record, rows[0][_RECORDED_AT]) if rows else record
            for record, rows in zip(of_chunk, events, strict=True)
        ]
        decoded = decode(Chunk(topic, partition, dated))
        fresh = by_offset(decoded.events)
        reasons = {each.record.offset: each.reason for each in reversed(decoded.rejections)}
        for record, rows in zip(of_chunk, events, strict=True):
            offset = record.offset
            now = fresh.get(offset, ())
            yield DecodedRecord(record, _without_joined(rows, now), now, reasons.get(offset, ""))


def _without_joined(stored: Sequence[EventRow], decoded: Sequence[EventRow]) -> Sequence[EventRow]:
    """Return stored events without those that are decoded as of their message, for they are that.

    An edge that came after them had them stored once more, by their message's id.
    """
    names = ("kind", "occurred_at")
    joined = {
        (value_of(row, "other_id"), *_values(row, names))
        for row in decoded if value_of(row, "other_id")
    }  # fmt: skip
    return [
        row for row in stored if (value_of(row, "message_id"), *_values(row, names)) not in joined
    ]


def differences_of(
    client: Client, database: str, decoded: Sequence[DecodedRecord]
) -> list[Difference]:
    """Return what differs; an event that is stored of another record, as a copy is, does not."""
    differing = []
    for each in decoded:
        stored = {content_of(row): row for row in each.stored}
        fresh = {content_of(row): row for row in each.decoded}
        if stored.keys() != fresh.keys():
            differing.append((
                each,
                [row for content, row in stored.items() if content not in fresh],
                [row for content, row in fresh.items() if content not in stored],
            ))  # fmt: skip
    elsewhere = _stored_elsewhere(client, database, [row for *_, new in differing for row in new])
    return [
        Difference(_source_of(each.record), *each.record[:3], before, after, each.reason)
        for each, old, new in differing
        for before, after in pairs_of(old, [r for r in new if content_of(r) not in elsewhere])
    ]


def pairs_of(
    before: Sequence[EventRow], after: Sequence[EventRow]
) -> Iterator[tuple[EventRow | None, EventRow | None]]:
    """Yield which event of a record became which, the most alike first; None for no other."""
    old, new = list(before), list(after)
    for names in _LIKENESS:
        waiting: defaultdict[tuple[Any, ...], list[EventRow]] = defaultdict(list)
        for row in new:
            waiting[_values(row, names)].append(row)
        rest = []
        for row in old:
            if alike := waiting[_values(row, names)]:
                yield row, alike.pop(0)
            else:
                rest.append(row)
        old, new = rest, [row for rows in waiting.values() for row in rows]
    if len(old) == len(new) == 1:
        yield old[0], new[0]
        return
    yield from ((row, None) for row in old)
    yield from ((None, row) for row in new)


def _values(row: EventRow, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(value_of(row, name) for name in names)


def _events_of(record: RawRecord, stored: Sequence[EventRow]) -> Sequence[EventRow]:
    """Return the events that came from a record, of those that came from its offset.

    A topic that was made anew has an offset twice; but their times differ.
    """
    recorded_ms = stated_ms(record)
    if not is_plausible(recorded_ms):
        return stored
    return [row for row in stored if row[_RECORDED_AT] == recorded_ms]


def _stored_elsewhere(client: Client, database: str, rows: Sequence[EventRow]) -> set[Any]:
    """Return the content of those events that are stored, of whatever record."""
    if not rows:
        return set()
    keys = {
        (*_values(row, _KEY_NAMES), iso_milliseconds(value_of(row, "occurred_at"))[:-1]
         .replace("T", " "), value_of(row, "event_id"))
        for row in rows
    }  # fmt: skip
    return set(map(content_of, rows_of(events_with_keys(client, database, sorted(keys)))))


def _source_of(record: RawRecord) -> str:
    feed = feed_provider(record.topic)
    return feed[1] if feed else record.topic
