"""Writing to ClickHouse, and what its errors mean for the one who writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from projections.clickhouse.client import BadRowsError, FatalError, classified
from projections.expressions import plain
from projections.tables import Table, type_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


#: Refused rows in a row, none accepted, after which the cause is not taken to be in the rows.
_MOST_REFUSED: Final = 50

_ARROW_TYPES: Final[dict[str, pa.DataType]] = {
    "String": pa.binary(),  # ClickHouse's String is bytes: a dead letter need not be UTF-8
    "Bool": pa.bool_(),
    "UInt16": pa.uint16(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "DateTime64(3, 'UTC')": pa.timestamp("ms", tz="UTC"),
    "Array(String)": pa.list_(pa.binary()),
    "Map(String, String)": pa.map_(pa.binary(), pa.binary()),
}
_INSERT_SETTINGS: Final = {
    # A retried insert is a whole one: a server that dropped it as a copy would skip the folds too.
    "insert_deduplicate": 0,
    # On a cluster: on its shard, not only on the disk of the server that was asked.
    "distributed_foreground_insert": 1,
    # Each block is folded once already; folding it again before it is written brings nothing
    # (without: 97,000 rows/s of 60,000 a batch, with: 154,000).
    "optimize_on_insert": 0,
    # The folds of the logs side by side (97,000 to 116,000 rows/s).
    "parallel_view_processing": 1,
}


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of a table's inserted columns, in their order."""
    return pa.schema(
        [
            (name, _ARROW_TYPES[plain(type_of(declaration))])
            for name, declaration in table.columns.items()
        ]
    )


class Store:
    """A database to write to, connected at the first write."""

    def __init__(self, connect: Callable[[], Client], database: str) -> None:
        self._client = cache(connect)
        self._database = database

    def insert(self, table: Table, rows: pa.Table) -> None:
        """Insert rows; raises as `insert` and `connect` do."""
        insert(self._client(), self._database, table, rows)


def insert(client: Client, database: str, table: Table, rows: pa.Table) -> None:
    """Insert rows that have the table's `arrow_schema`; returns when they are queryable.

    Raises `TransientError`, `FatalError` or `BadRowsError`; then some of the rows may have landed,
    and writing all of them again does no harm.
    """
    with classified():
        # Of one piece: each piece would be a block of its own to the engine, column by column.
        client.insert_arrow(
            table.name, rows.combine_chunks(), database=database, settings=_INSERT_SETTINGS
        )


def isolate(rows: pa.Table, write: Callable[[pa.Table], None]) -> list[tuple[int, str]]:
    """Write the rows of a refused batch in halves, down to the single rows that are refused.

    Returns the place and reason of each row that `write` refuses on its own with `BadRowsError`.
    Raises `FatalError` if all, or very many before one is taken, are refused: then the cause is not
    in the rows.
    """
    refused: list[tuple[int, str]] = []
    accepted = 0
    waiting = [(0, rows)]
    while waiting:
        start, part = waiting.pop()
        try:
            write(part)
            accepted += part.num_rows
        except BadRowsError as error:
            if part.num_rows > 1:
                half = part.num_rows // 2
                waiting += [(start + half, part.slice(half)), (start, part.slice(0, half))]
                continue
            refused.append((start, str(error)))
            everything = len(refused) == rows.num_rows > 1
            if not accepted and (everything or len(refused) >= _MOST_REFUSED):
                count = f"{len(refused)} of {rows.num_rows}"
                raise FatalError(f"{count} rows are refused, and none is taken: {error}") from error
    return refused
