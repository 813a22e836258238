"""A message's rows derived again from its raw records, and held against the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from processor.replay.comparison import DecodedRecord, by_offset, decode_records
from processor.replay.event_rows import EventRow, content_of, rows_of, value_of
from processor.replay.records import records_of
from processor.replay.row_changes import changed_columns, key_of, row_of
from projections.queries.message_events import (
    MessageKey,
    events_of_messages,
    messages_with_id,
    rows_of_messages,
)
from projections.queries.raw_records import raw_records_of
from projections.tables import Projection

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

    from processor.intake.decoder import Decoder

Place = tuple[str, int, int]


class UnderivedEvent(NamedTuple):
    """A stored event that no raw record gives any more; `has_record`: of its own there is one."""

    kind: str
    event_id: str
    place: Place
    has_record: bool


class ReplayedRow(NamedTuple):
    """A row as the log has it and as its raw records give it; None where there is none."""

    log: str
    tenant: str
    key: MessageKey
    stored: Mapping[str, Any] | None
    derived: Mapping[str, Any] | None
    columns: tuple[str, ...]
    events: int
    underived: Sequence[UnderivedEvent]

    @property
    def is_same(self) -> bool:
        """Whether the log has what the raw records give."""
        return not self.columns


def replay_message(
    client: Client, database: str, decode: Decoder, log: Projection, message_id: str,
    tenant: str | None = None,
) -> Iterator[ReplayedRow]:  # fmt: skip
    """Yield the rows of a message's id, each derived again by the installed adapters.

    Nothing is written. Raises ClickHouse's errors.
    """
    for owner, keys in messages_with_id(client, database, log, message_id, tenant).items():
        events = events_of_messages(client, database, log, owner, keys)
        decoded = _decode_sources(client, database, decode, events)
        derived: defaultdict[MessageKey, dict[Any, EventRow]] = defaultdict(dict)
        for each in decoded:
            for row in each.decoded:
                if value_of(row, "tenant_id") == owner and value_of(row, "channel") == log.channel:
                    derived[key_of(row)][content_of(row)] = row
        stored = rows_of_messages(client, database, log, owner, keys)
        records = {each.record[:3] for each in decoded}
        underived = _underived(events, derived, records)
        for key in keys:
            fresh = row_of(log, owner, key, derived[key].values())
            yield ReplayedRow(
                log.name, owner, key, stored.get(key), fresh,
                changed_columns(stored.get(key), fresh), len(derived[key]), underived.get(key, ()),
            )  # fmt: skip


def _decode_sources(
    client: Client, database: str, decode: Decoder, events: pa.Table
) -> list[DecodedRecord]:
    """Return the raw records that events came from, decoded."""
    of_partition: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    places = list(dict.fromkeys(_places(events)))
    for line, (topic, partition, _) in enumerate(_places(events)):
        of_partition[topic, partition].append(line)
    if not places:
        return []
    records = records_of(raw_records_of(client, database, places))
    decoded: list[DecodedRecord] = []
    for source, lines in of_partition.items():
        of_one = [record for record in records if record[:2] == source]
        decoded += decode_records(decode, of_one, by_offset(events.take(lines)))
    # Another record had an offset before its topic was made anew.
    return [each for each in decoded if each.stored]


def _underived(
    events: pa.Table, derived: Mapping[MessageKey, Mapping[Any, EventRow]], records: set[Place]
) -> dict[MessageKey, list[UnderivedEvent]]:
    underived: defaultdict[MessageKey, list[UnderivedEvent]] = defaultdict(list)
    for row, place in zip(rows_of(events), _places(events), strict=True):
        if content_of(row) not in derived.get(key_of(row), {}):
            kind, event_id = value_of(row, "kind"), value_of(row, "event_id")
            event = UnderivedEvent(kind, event_id, place, place in records)
            underived[key_of(row)].append(event)
    return underived


def _places(events: pa.Table) -> list[Place]:
    names = ("source_topic", "source_partition", "source_offset")
    columns = [events[name].to_pylist() for name in names]
    return [(str(topic, "utf-8"), *rest) for topic, *rest in zip(*columns, strict=True)]
