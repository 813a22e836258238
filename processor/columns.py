"""Events, dicts of what is set, become the columns of their table: what the database is sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from projections.store import arrow_schema
from projections.tables.events import TABLE
from schemas.events import Fields, fingerprints

SCHEMA: Final = arrow_schema(TABLE)
_TIME: Final = SCHEMA.field("occurred_at").type


def table_of(events: Sequence[Fields], topic: str, partition: int) -> pa.Table:
    """Return events of one partition of a topic, each with its `source_offset`, as a table.

    An event that has no `event_id` yet gets it. The order of rows is of no account.

    Events of one shape (the same fields set, in the same order) are turned over together: each
    dict is read once, from front to back. That is four times as fast as asking every event for
    every column, which misses the processor's cache at each (0.5 against 2.1 µs per event).
    """
    shapes: defaultdict[tuple[str, ...], list[Fields]] = defaultdict(list)
    for event in events:
        shapes[tuple(event)].append(event)
    tables = [SCHEMA.empty_table()]
    for names, alike in shapes.items():
        rows = (event.values() for event in alike)
        given: dict[str, Any] = dict(zip(names, zip(*rows, strict=True), strict=True))
        given["occurred_at"] = times = pa.array(given["occurred_at"], _TIME)
        if "event_id" not in given:
            given["event_id"] = fingerprints(given, times.cast(pa.int64()).to_pylist())
            for event, identity in zip(alike, given["event_id"], strict=True):
                event["event_id"] = identity
        given["source_topic"] = (topic,) * len(alike)
        given["source_partition"] = (partition,) * len(alike)
        tables.append(pa.Table.from_arrays(
            [_array(given.get(column.name), column.type, len(alike)) for column in SCHEMA],
            schema=SCHEMA,
        ))  # fmt: skip
    return pa.concat_tables(tables)


def _array(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    return values if isinstance(values, pa.Array) else pa.array(values, kind)
