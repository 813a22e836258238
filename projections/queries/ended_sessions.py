"""The sessions that were ended before their time: kept in a table, so that every process knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from projections.clickhouse.sql import stream
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.tables.ended_sessions import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: For this long a session that ended in another process may still be accepted.
ENDED_CACHE_SECONDS: Final = 3.0


def store_ended_session(client: Client, database: str, nonce: str, expires_at: datetime) -> None:
    """Store that a session has ended. Raises as `projections.clickhouse.store.insert_rows` does."""
    rows = [{"nonce": nonce, "expires_at": expires_at}]
    insert_rows(client, database, TABLE, pa.Table.from_pylist(rows, schema=arrow_schema(TABLE)))


def list_ended_sessions(client: Client, database: str) -> frozenset[str]:
    """Return the nonces of ended sessions whose cookies have not expired yet."""
    sql = f"SELECT DISTINCT nonce FROM {database}.{TABLE.name} WHERE expires_at > now64()"
    return frozenset(row["nonce"] for row in stream(client, sql, {}))


class EndedSessions:
    """The ended sessions, at most `ENDED_CACHE_SECONDS` old. Used from many threads.

    `load` reads them; `clock` gives seconds.
    """

    def __init__(
        self, load: Callable[[], frozenset[str]], clock: Callable[[], float] = monotonic
    ) -> None:
        self._load, self._clock = load, clock
        self._lock = Lock()
        self._nonces: frozenset[str] = frozenset()
        self._loaded_at = float("-inf")

    def holds(self, nonce: str) -> bool:
        """Return whether a session has ended. Raises as `load` does."""
        with self._lock:  # one thread reads for all that wait
            if self._clock() - self._loaded_at > ENDED_CACHE_SECONDS:
                started_at = self._clock()
                self._nonces = self._load()
                self._loaded_at = started_at
            return nonce in self._nonces
