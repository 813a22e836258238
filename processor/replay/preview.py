"""What history would be by the installed adapters: which events, and which rows, would be others.

Nothing is written. Records are gone through slice by slice, and what differs is kept in a file, so
that memory does not grow with history.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from processor.kafka.topics import feed_topic
from processor.replay.comparison import by_offset, decode_records, differences_of
from processor.replay.differences import DifferenceCount, DifferenceExample, DifferenceStore
from processor.replay.records import RawRecord, records_of
from processor.replay.row_changes import ChangedRow, changed_rows
from projections.queries.raw_records import (
    events_of_slice,
    raw_partitions,
    raw_slices,
    read_slice,
)
from projections.tables import log_of
from schemas.events import KINDS_BY_CHANNEL, milliseconds

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from processor.intake.decoder import Decoder

#: Records that are decoded at once, and their bytes.
MAX_CHUNK_RECORDS: Final = 10_000
MAX_CHUNK_BYTES: Final = 16 * 1024 * 1024
#: Rows whose events are read at once.
BATCH_MESSAGES: Final = 2_000
EXAMPLES: Final = 3


class PreviewProgress(NamedTuple):
    """How far it is: records decoded, or rows folded, of all."""

    step: str
    done: int
    total: int


class StatusChange(NamedTuple):
    """How many rows would change from one status to another, and in which columns any of them."""

    log: str
    before: str
    after: str
    rows: int
    columns: tuple[str, ...]


@dataclass(slots=True)
class Preview:
    """What would change; complete when `compare` has ended."""

    records: int = 0
    events: int = 0
    differences: list[DifferenceCount] = field(default_factory=list)
    examples: list[DifferenceExample] = field(default_factory=list)
    rows: list[StatusChange] = field(default_factory=list)
    row_examples: list[ChangedRow] = field(default_factory=list)

    def compare(
        self,
        client: Client,
        database: str,
        decode: Decoder,
        *,
        provider: str | None = None,
        since: datetime | None = None,
    ) -> Iterator[PreviewProgress]:
        """Compare all records, or a provider's, or those since a time; yield how far it is.

        Raises ClickHouse's errors.
        """
        topics = [feed_topic(channel, provider) for channel in KINDS_BY_CHANNEL] if provider else []
        since_ms = None if since is None else milliseconds(since)
        with DifferenceStore() as store:
            yield from self._compare_events(client, database, decode, store, topics, since_ms)
            store.finish()
            self.differences, self.examples = store.counts(), list(store.examples(EXAMPLES))
            yield from self._compare_rows(client, database, store)

    def _compare_events(
        self,
        client: Client,
        database: str,
        decode: Decoder,
        store: DifferenceStore,
        topics: Sequence[str],
        since_ms: int | None,
    ) -> Iterator[PreviewProgress]:
        places = raw_partitions(client, database, topics=topics, since_ms=since_ms)
        total = sum(place.records for place in places)
        for place in places:
            for part in raw_slices(client, database, place, since_ms):
                stored = by_offset(events_of_slice(client, database, part))
                rows = read_slice(client, database, part, since_ms)
                for records in _grouped(rows):
                    decoded = list(decode_records(decode, records, stored))
                    store.add(differences_of(client, database, decoded))
                    self.records += len(records)
                    self.events += sum(len(each.decoded) for each in decoded)
                    yield PreviewProgress("records", self.records, total)

    def _compare_rows(
        self, client: Client, database: str, store: DifferenceStore
    ) -> Iterator[PreviewProgress]:
        counts: Counter[tuple[str, str, str]] = Counter()
        columns: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        done, total = 0, store.message_count()
        for channel, tenant, messages in store.messages(BATCH_MESSAGES):
            for row in changed_rows(client, database, log_of(channel), tenant, messages):
                way = (row.log, row.before, row.after)
                if counts[way] < EXAMPLES:
                    self.row_examples.append(row)
                counts[way] += 1
                columns[way].update(row.columns)
            done += len(messages)
            yield PreviewProgress("rows", done, total)
        self.rows = [
            StatusChange(*way, count, tuple(sorted(columns[way])))
            for way, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        ]


def _grouped(batches: Iterator[Any]) -> Iterator[list[RawRecord]]:
    """Yield the records of batches in groups worth decoding, copies once."""
    group: list[RawRecord] = []
    size = 0
    last = None
    for batch in batches:
        records = records_of(batch)
        if records and records[0][:4] == last:
            del records[0]
        if not records:
            continue
        last = records[-1][:4]
        group += records
        size += batch.nbytes
        if len(group) >= MAX_CHUNK_RECORDS or size >= MAX_CHUNK_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
