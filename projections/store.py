"""Writing to ClickHouse, and what its errors mean for the one who writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from ssl import SSLError
from typing import TYPE_CHECKING, Any, Final

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from projections.expressions import plain
from projections.tables import Table, type_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class TransientError(Exception):
    """The database is away, overloaded or read-only: the same write will do later."""


class FatalError(Exception):
    """A table, column, user or right is missing: nothing can be written until somebody acts."""


class BadRowsError(Exception):
    """The database refuses something in these rows."""


#: Codes of ClickHouse's ErrorCodes.cpp. Any other is fatal: about neither the time nor the rows.
TRANSIENT_CODES: Final = frozenset({
    3, 159, 160, 164, 173, 198, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 286,
    290, 305, 319, 335, 364, 394, 415, 425, 439, 473, 499, 568, 590, 594, 600, 606, 627, 630, 641,
    643, 668, 700, 733, 999,
})  # fmt: skip
#: What is wrong with a value: not parsed, out of range, missing, too large.
ROW_CODES: Final = frozenset({6, 25, 26, 27, 33, 38, 41, 69, 70, 72, 117, 131, 190, 321, 349, 691})
_HTTP_STATUS: Final = re.compile(
    r"HTTP status (?:code )?(\d{3})|status code (\d{3})", re.IGNORECASE
)
TRANSIENT_STATUSES: Final = frozenset({"408", "429", "500", "502", "503", "504"})
#: Refused rows in a row, none accepted, after which the cause is not taken to be in the rows.
_MOST_REFUSED: Final = 50
_CODE: Final = re.compile(r"(?:code: |Code: )(\d+)")

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


def connect(
    url: str, *, user: str, password: str, database: str = "", timeout: float = 120
) -> Client:
    """Return a client of the HTTP interface at `url`; safe to share between threads.

    Raises `TransientError` if nothing answers, `FatalError` if the user or database is refused.
    """
    try:
        return clickhouse_connect.get_client(
            dsn=url,
            username=user,
            password=password,
            database=database or "default",
            autogenerate_session_id=False,
            connect_timeout=10,
            send_receive_timeout=timeout,
            query_retries=0,
            tz_mode="aware",
            client_name="sendlog",
        )
    except (ClickHouseError, OSError) as error:
        raise classify(error) from error


def classify(error: Exception) -> TransientError | FatalError | BadRowsError:
    """Return what an error of a write means for the one who writes."""
    text = str(error)
    code = _CODE.search(text)
    summary = text.strip().splitlines()[0][:500] if text.strip() else type(error).__name__
    if code is None:
        status = _HTTP_STATUS.search(text)
        answered = status is not None and (status[1] or status[2]) not in TRANSIENT_STATUSES
        away = isinstance(error, (OperationalError, OSError)) and not isinstance(error, SSLError)
        return FatalError(summary) if answered or not (away or status) else TransientError(summary)
    if int(code[1]) in TRANSIENT_CODES:
        return TransientError(summary)
    return BadRowsError(summary) if int(code[1]) in ROW_CODES else FatalError(summary)


@contextmanager
def classified() -> Iterator[None]:
    """Raise what ClickHouse, or the way to it, raises inside as what it means.

    That is `TransientError`, `FatalError` or `BadRowsError`; any other error stays as it is.
    """
    try:
        yield
    except (ClickHouseError, OSError) as error:
        raise classify(error) from error
    except Exception as error:
        # The HTTP library's own errors of a broken connection.
        if type(error).__module__.startswith(("urllib3", "http")):
            raise TransientError(f"{type(error).__name__}: {error}"[:500]) from error
        raise


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


def scalar(client: Client, sql: str, parameters: dict[str, Any] | None = None) -> Any:
    """Return the one value of a query."""
    return client.query(sql, parameters=parameters).result_rows[0][0]
