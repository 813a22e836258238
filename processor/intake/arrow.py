"""Events, dicts of what is set, become the columns of their table: what the database is sent.

Many events with the same fields set are turned into columns together: each dict is read once, from
front to back, instead of asking every event for every column (E-026). But a group costs some forty
arrays, so events of a small group are asked one by one (E-020).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from projections.clickhouse.store import arrow_schema
from projections.tables.events import TABLE
from schemas.events import EventFields, fingerprint, fingerprints

_SCHEMA: Final = arrow_schema(TABLE)
TIME_TYPE: Final = _SCHEMA.field("occurred_at").type
_TYPES: Final = {column.name: column.type for column in _SCHEMA}
_ROW: Final = pa.struct(list(_SCHEMA))
#: Fewer alike events are turned into rows one by one.
MIN_COLUMN_EVENTS: Final = 64
#: Columns that the event has by another name.
_NAMED: Final = {"recorded_at": "recorded_ms"}


@dataclass(slots=True)
class EventGroup:
    """Events with the same fields set, and the columns of these if it is worth making them."""

    events: list[EventFields]
    columns: dict[str, Any] | None


def group_events(events: Sequence[EventFields]) -> list[EventGroup]:
    """Group events by the fields that are set in them."""
    groups: defaultdict[tuple[str, ...], list[EventFields]] = defaultdict(list)
    for event in events:
        groups[tuple(event)].append(event)
    return [EventGroup(alike, _columns_of(names, alike)) for names, alike in groups.items()]


def assign_ids(groups: Sequence[EventGroup]) -> None:
    """Give each event that has no `event_id` yet its fingerprint."""
    for group in groups:
        if "event_id" in group.events[0]:
            continue
        if group.columns is None:
            for event in group.events:
                event["event_id"] = fingerprint(event)
        else:
            times = group.columns["occurred_at"].cast(pa.int64()).to_pylist()
            ids = group.columns["event_id"] = fingerprints(group.columns, times)
            for event, event_id in zip(group.events, ids, strict=True):
                event["event_id"] = event_id


def table_of(
    groups: Sequence[EventGroup], topic: str, partition: int, adapter_version: int = 0
) -> pa.Table:
    """Return events of one partition of a topic, each with its id and `source_offset`, as a table.

    The order of rows is of no account.
    """
    common = {
        "source_topic": topic, "source_partition": partition, "adapter_version": adapter_version,
    }  # fmt: skip
    batches = [
        _by_column(group.columns, len(group.events), common)
        for group in groups if group.columns is not None
    ]  # fmt: skip
    few = [event for group in groups if group.columns is None for event in group.events]
    batches.append(_by_event(few, common))
    return pa.Table.from_batches(batches, _SCHEMA)


def _columns_of(names: Sequence[str], alike: Sequence[EventFields]) -> dict[str, Any] | None:
    if len(alike) < MIN_COLUMN_EVENTS:
        return None
    rows = (event.values() for event in alike)
    columns: dict[str, Any] = dict(zip(names, zip(*rows, strict=True), strict=True))
    for name in ("occurred_at", "recorded_ms"):
        columns[name] = pa.array(columns[name], TIME_TYPE)
    return columns


def _by_column(columns: Mapping[str, Any], count: int, common: Mapping[str, Any]) -> pa.RecordBatch:
    same = {name: (value,) * count for name, value in common.items()}
    arrays = [
        _array(same.get(name) or columns.get(_NAMED.get(name, name)), kind, count)
        for name, kind in _TYPES.items()
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _by_event(events: Sequence[EventFields], common: Mapping[str, Any]) -> pa.RecordBatch:
    rows = [
        {**event, "recorded_at": event["recorded_ms"], **common} for event in events
    ]  # fmt: skip
    return pa.RecordBatch.from_struct_array(pa.array(rows, _ROW))


def _array(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    return values if isinstance(values, pa.Array) else pa.array(values, kind)
