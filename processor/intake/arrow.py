"""Events, dicts of what is set, become the columns of their table: what the database is sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from projections.clickhouse.store import arrow_schema
from projections.tables.events import TABLE
from schemas.events import Fields, fingerprint, fingerprints

SCHEMA: Final = arrow_schema(TABLE)
_TIME: Final = SCHEMA.field("occurred_at").type
_TYPES: Final = {column.name: column.type for column in SCHEMA}
_ROW: Final = pa.struct(list(SCHEMA))
#: Fewer events of one shape are asked each for every column.
_FEW: Final = 64


def table_of(events: Sequence[Fields], topic: str, partition: int) -> pa.Table:
    """Return events of one partition of a topic, each with its `source_offset`, as a table.

    An event that has no `event_id` yet gets it. The order of rows is of no account.

    Many events of one shape (the same fields set, in the same order) are turned over together: each
    dict is read once, from front to back. That is four times as fast as asking every event for
    every column, which misses the processor's cache at each (0.5 against 2.1 µs per event). But it
    makes some forty arrays for a shape, so of a few events each is asked after all: a chunk of five
    takes 0.2 rather than 1.2 ms.
    """
    shapes: defaultdict[tuple[str, ...], list[Fields]] = defaultdict(list)
    for event in events:
        shapes[tuple(event)].append(event)
    batches: list[pa.RecordBatch] = []
    few: list[Fields] = []
    for names, alike in shapes.items():
        if len(alike) < _FEW:
            few += alike
        else:
            batches.append(_by_column(names, alike, topic, partition))
    batches.append(_by_event(few, topic, partition))
    return pa.Table.from_batches(batches, SCHEMA)


def _by_column(
    names: Sequence[str], alike: Sequence[Fields], topic: str, partition: int
) -> pa.RecordBatch:
    rows = (event.values() for event in alike)
    given: dict[str, Any] = dict(zip(names, zip(*rows, strict=True), strict=True))
    given["occurred_at"] = times = pa.array(given["occurred_at"], _TIME)
    if "event_id" not in given:
        given["event_id"] = fingerprints(given, times.cast(pa.int64()).to_pylist())
        for event, identity in zip(alike, given["event_id"], strict=True):
            event["event_id"] = identity
    given["source_topic"] = (topic,) * len(alike)
    given["source_partition"] = (partition,) * len(alike)
    columns = [_array(given.get(name), kind, len(alike)) for name, kind in _TYPES.items()]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _by_event(events: Sequence[Fields], topic: str, partition: int) -> pa.RecordBatch:
    source = {"source_topic": topic, "source_partition": partition}
    for event in events:
        if "event_id" not in event:
            event["event_id"] = fingerprint(event)
    rows = pa.array([{**event, **source} for event in events], _ROW)
    return pa.RecordBatch.from_struct_array(rows)


def _array(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    return values if isinstance(values, pa.Array) else pa.array(values, kind)
