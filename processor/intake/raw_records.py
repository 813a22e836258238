"""The records that gave events, as they came: rows of `raw_records`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Final

import pyarrow as pa

from processor.intake.decoder import DecodedChunk
from processor.kafka.records import Record
from projections.clickhouse.store import arrow_schema
from projections.tables.raw_records import TABLE

_SCHEMA: Final = arrow_schema(TABLE)
_HEADERS_TYPE: Final = _SCHEMA.field("headers").type
_HEADER_TYPE: Final = _HEADERS_TYPE.value_type
#: What a client gives that has no timestamp; so does Kafka.
NO_TIMESTAMP: Final = -1


def to_rows(chunks: Sequence[DecodedChunk]) -> pa.Table:
    """Return the records of chunks from which an event was made, by columns.

    But none about a person who was forgotten. All of them at once: to put columns together would
    copy the bytes again. In the table's order, which the database then need not make.
    """
    topics, partitions, records = list[bytes](), list[int](), list[Record]()
    for each in sorted(chunks, key=_place):
        kept = _records_with_events(each)
        topics += [each.chunk.topic.encode()] * len(kept)
        partitions += [each.chunk.partition] * len(kept)
        records += kept
    timestamps = [record.timestamp for record in records]
    if None in timestamps:
        timestamps = [NO_TIMESTAMP if each is None else each for each in timestamps]
    columns = {
        "topic": topics,
        "partition": partitions,
        "offset": [record.offset for record in records],
        "timestamp": timestamps,
        "value": [record.value for record in records],
    }
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else _headers_of(records)
        for field in _SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _place(decoded: DecodedChunk) -> tuple[str, int, int]:
    chunk = decoded.chunk
    return chunk.topic, chunk.partition, chunk.records[0].offset


def _records_with_events(decoded: DecodedChunk) -> Sequence[Record]:
    records, offsets = decoded.chunk.records, decoded.events["source_offset"].unique()
    if len(offsets) == len(records) and not decoded.hidden_offsets:
        return records
    kept = set(offsets.to_pylist()) - decoded.hidden_offsets
    return [record for record in records if record.offset in kept]


def _headers_of(records: Sequence[Record]) -> pa.ListArray:
    """Return all headers, in their order, as one column."""
    each = [record.headers or () for record in records]
    ends = accumulate(map(len, each), initial=0)
    pairs = list(chain.from_iterable(each))
    values = [value for _, value in pairs]
    names = pa.array([name for name, _ in pairs], pa.string()).cast(pa.binary())
    structs = pa.StructArray.from_arrays(
        [names, pa.array(values, pa.binary())], fields=list(_HEADER_TYPE)
    )
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs, type=_HEADERS_TYPE)
