"""Events as tuples, alike whether they were decoded or are stored: to compare, and to fold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import Any, Final

import pyarrow as pa

from projections.column_types import TIME
from projections.tables.events import TABLE, ZEROS
from schemas.events import EPOCH

#: What says where and when an event was read, and by which adapter, but not what happened.
_PROVENANCE: Final = frozenset(
    {"source_topic", "source_partition", "source_offset", "adapter_version", "recorded_at"}
)
#: What an event says: two that agree in these are one.
CONTENT: Final = tuple(name for name in TABLE.columns if name not in _PROVENANCE)
COLUMNS: Final = (*CONTENT, "recorded_at")
#: An event: the values of `COLUMNS`, texts as bytes and times in milliseconds since 1970.
EventRow = tuple[Any, ...]
#: The values of `CONTENT`.
Content = tuple[Any, ...]
_PLACES: Final = {name: place for place, name in enumerate(COLUMNS)}
_TIMES: Final = frozenset(name for name, kind in TABLE.columns.items() if TIME in kind)


def rows_of(events: pa.Table) -> list[EventRow]:
    """Return events that have the columns of their table, in their order."""
    return list(zip(*(_values(name, events[name]) for name in COLUMNS), strict=True))


def content_of(row: EventRow) -> Content:
    """Return what an event says."""
    return row[:-1]


def value_of(row: EventRow, name: str) -> Any:
    """Return a value of an event as people see it."""
    return _plain(name, row[_PLACES[name]])


def as_event(row: EventRow) -> dict[str, Any]:
    """Return an event as folds take it."""
    return {name: _plain(name, value) for name, value in zip(COLUMNS, row, strict=True)}


def differing_columns(before: EventRow, after: EventRow) -> tuple[str, ...]:
    """Return the columns in which two events say something else."""
    return tuple(name for name, old, new in zip(CONTENT, before, after, strict=False) if old != new)


def digest_of(row: EventRow | None) -> bytes:
    """Return what stands for the content of an event, b'' for none."""
    return b"" if row is None else blake2b(repr(content_of(row)).encode(), digest_size=16).digest()


def _values(name: str, column: pa.ChunkedArray) -> Sequence[Any]:
    if name in _TIMES:
        column = column.cast(pa.int64())
        zero: Any = None if ZEROS[name] is None else 0
    else:
        zero = ZEROS[name]
    if name == "tags":
        return [tuple(tags or ()) for tags in column.to_pylist()]
    if zero is not None and column.null_count:
        column = column.fill_null(zero.encode() if isinstance(zero, str) else zero)
    values: list[Any] = column.to_pylist()
    return values


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, tuple):
        return [each.decode("utf-8", "replace") for each in value]
    if name in _TIMES and value is not None:
        return EPOCH + timedelta(milliseconds=value)
    return value
