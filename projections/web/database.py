"""The API's way to ClickHouse: connected when first asked, and again after it was away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING

import structlog

from projections.clickhouse.client import BadRowsError, FatalError, TransientError, classified
from projections.web.problems import ProblemError, away

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: ClickHouse's codes of a query that took longer than it may, and of a parameter that it cannot
#: read as what its column is.
_TOO_LONG, _UNFIT = "Code: 159", "Code: 457"
log = structlog.stdlib.get_logger(__name__)


class Reader:
    """A database that is only read, from many threads; it may be away at any time.

    Every query is read-only to the engine and ends after `seconds`.
    """

    def __init__(self, connect: Callable[[], Client], name: str, *, seconds: float = 30) -> None:
        self.name = name
        self._connect = connect
        self._seconds = seconds
        self._client: Client | None = None
        self._lock = Lock()

    @contextmanager
    def asking(self) -> Iterator[Client]:
        """Give a client; what goes wrong with it becomes the problem to answer with.

        Raises `ProblemError`: 503 while the database is away, overloaded or not migrated, or the
        answer takes too long; 422 for a value that a column cannot have.
        """
        try:
            with classified():
                yield self._connected()
        except (TransientError, FatalError, BadRowsError) as error:
            raise _problem(error) from error
        except OverflowError:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY, "a number or a time is out of range"
            ) from None

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                client = self._connect()
                client.set_client_setting("readonly", "2")
                client.set_client_setting("max_execution_time", f"{self._seconds:g}")
                self._client = client
            return self._client

    def problem(self) -> str:
        """Return why the database cannot be read now, or nothing."""
        try:
            with self.asking() as client:
                client.query(f"SELECT 1 FROM {self.name}.events LIMIT 1")
        except ProblemError as error:
            return error.detail
        return ""


def _problem(error: TransientError | FatalError | BadRowsError) -> ProblemError:
    if isinstance(error, BadRowsError) or _UNFIT in str(error):
        return ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "a value is none that its column can have"
        )
    if _TOO_LONG in str(error):
        return away("the answer takes too long; narrow the question, by date or recipient")
    log.warning("clickhouse_unreadable", error=str(error))
    if isinstance(error, FatalError):
        return away("ClickHouse refuses: is the database migrated (sendlog migrate)?", seconds=30)
    return away("ClickHouse is away")
