"""Raw records as intake had them, in chunks that its decoder takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import pyarrow as pa

from processor.kafka.records import RECORDED_AT_HEADER, is_plausible, stated_ms

Headers = tuple[tuple[str, bytes | None], ...]


class RawRecord(NamedTuple):
    """A record as Kafka had it, but for its key and whose its time is, which are not kept."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    headers: Headers
    value: bytes | None
    key: bytes | None = None
    timestamp_type: int | None = None


def records_of(rows: pa.Table | pa.RecordBatch) -> list[RawRecord]:
    """Return rows of `raw_records`, copies that are beside each other once."""
    names = ("topic", "partition", "offset", "timestamp", "headers", "value")
    columns = [rows.column(name).to_pylist() for name in names]
    records = [
        RawRecord(str(topic, "utf-8"), partition, offset, timestamp, _headers(headers), value)
        for topic, partition, offset, timestamp, headers, value in zip(*columns, strict=True)
    ]
    return [next(copies) for _, copies in groupby(records, key=itemgetter(0, 1, 2, 3))]


def chunks_of(records: Sequence[RawRecord]) -> Iterator[tuple[str, int, list[RawRecord]]]:
    """Yield records, in order of their places, by topic and partition; no offset is twice in one.

    An offset comes twice if its topic was made anew.
    """
    for (topic, partition), of_one in groupby(records, key=itemgetter(0, 1)):
        rest = list(of_one)
        while rest:
            offsets: set[int] = set()
            chunk, again = list[RawRecord](), list[RawRecord]()
            for record in rest:
                (again if record.offset in offsets else chunk).append(record)
                offsets.add(record.offset)
            yield topic, partition, chunk
            rest = again


def with_time(record: RawRecord, recorded_ms: int) -> RawRecord:
    """Return a record that says no time with the one that intake took it for."""
    if is_plausible(stated_ms(record)):
        return record
    headers = tuple(header for header in record.headers if header[0] != RECORDED_AT_HEADER)
    return record._replace(timestamp=recorded_ms, headers=headers)


def _headers(pairs: Sequence[dict[str, bytes | None]]) -> Headers:
    return tuple((str(pair["name"] or b"", "utf-8", "replace"), pair["value"]) for pair in pairs)
