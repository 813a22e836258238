"""The connection to ClickHouse: opened at the first query, read-only, with errors as problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http import HTTPStatus
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Final

import structlog

from projections.clickhouse.client import (
    DENIED_CODES,
    MEMORY_LIMIT_CODE,
    UNMIGRATED_CODES,
    BadRowsError,
    FatalError,
    TransientError,
    classified_errors,
)
from projections.web.problems import ProblemError, unavailable
from projections.web.request_work import CURRENT_WORK, RequestWork
from schemas.words import Words

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: ClickHouse's codes for a query over its time limit, and for a value that its type cannot have.
_TIMEOUT_CODE: Final = 159
_BAD_PARAMETER_CODE: Final = 457
#: Of a user or password that is wrong, which may have been right before.
_WRONG_PASSWORD_CODE: Final = 516
#: A query waits a little while one of a smaller number runs; analysts have 10.
PRIORITY: Final = 1
COSTLY_PRIORITY: Final = 5
#: At once, of one key, and how long the next waits for them.
MAX_KEY_COSTLY_QUERIES: Final = 2
COSTLY_WAIT_SECONDS: Final = 5.0
COSTLY_THREADS: Final = 2
#: Of one query: its threads and bytes.
QUERY_LIMITS: Final = {
    "readonly": 2,
    "priority": PRIORITY,
    "max_threads": 4,
    "max_memory_usage": 4_000_000_000,
    "max_bytes_before_external_group_by": 1_000_000_000,
    "max_bytes_before_external_sort": 1_000_000_000,
}
log = structlog.stdlib.get_logger(__name__)


class ReadOnlyDatabase:
    """A database for reading from many threads; it may be unavailable at any time.

    `connect` makes a client. The server refuses writes, and ends queries after `seconds` or beyond
    `QUERY_LIMITS`. The queries of a request have its tag.
    """

    def __init__(self, connect: Callable[[], Client], name: str, *, seconds: float = 30) -> None:
        self.name = name
        self._connect = connect
        self._seconds = seconds
        self._idle_clients: list[Client] = []
        self._costly_places: defaultdict[str, BoundedSemaphore] = defaultdict(
            lambda: BoundedSemaphore(MAX_KEY_COSTLY_QUERIES)
        )

    @contextmanager
    def client(self, *, is_costly: bool = False) -> Iterator[Client]:
        """Give a client whose errors become problems; others' queries go before costly ones.

        Raises `ProblemError`: 503 if the database is away, overloaded, not migrated or too slow;
        422 for a value that a column cannot have.
        """
        work = CURRENT_WORK.get()
        if work is not None and work.is_abandoned:
            raise unavailable("nobody waits for the answer")
        try:
            with (
                self._costly_place(work) if is_costly else nullcontext(),
                classified_errors(),
                self._borrowed(work, is_costly=is_costly) as client,
            ):
                yield client
        except (TransientError, FatalError, BadRowsError) as error:
            if error.code == _WRONG_PASSWORD_CODE:
                self._idle_clients.clear()  # the next have the password of now, if it is in a file
            raise _to_problem(error) from error
        except OverflowError:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY, "a number or a time is out of range"
            ) from None

    @contextmanager
    def _costly_place(self, work: RequestWork | None) -> Iterator[None]:
        """Wait for one of the key's places for costly queries. Raises a 503 problem."""
        places = self._costly_places[work.key if work else ""]
        if not places.acquire(timeout=COSTLY_WAIT_SECONDS):
            raise unavailable("searches of this key or person are under way already")
        try:
            yield
        finally:
            places.release()

    @contextmanager
    def _borrowed(self, work: RequestWork | None, *, is_costly: bool) -> Iterator[Client]:
        """Give a client that nobody else has meanwhile, as its settings are the work's."""
        try:
            client = self._idle_clients.pop()
        except IndexError:
            client = self._connect()
            for name, value in {**QUERY_LIMITS, "max_execution_time": self._seconds}.items():
                client.set_client_setting(name, str(value))
        work = work or RequestWork()
        client.set_client_setting("log_comment", work.tag)
        threads = COSTLY_THREADS if is_costly else QUERY_LIMITS["max_threads"]
        client.set_client_setting("max_threads", str(threads))
        client.set_client_setting("priority", COSTLY_PRIORITY if is_costly else PRIORITY)
        work.queries += 1
        try:
            yield client
        finally:
            work.queries -= 1
            self._idle_clients.append(client)

    def cancel(self, tag: str) -> None:
        """End the queries with a tag. An error is logged: they end by themselves, later."""
        try:
            with classified_errors(), self._borrowed(None, is_costly=False) as client:
                client.command(
                    "KILL QUERY WHERE Settings['log_comment'] = {tag:String} ASYNC",
                    parameters={"tag": tag},
                )
        except (TransientError, FatalError, BadRowsError) as error:
            log.warning("query_not_cancelled", error=str(error))

    def unavailable_reason(self) -> str:
        """Return why the database cannot be read now; empty if it can."""
        try:
            with self.client() as client:
                client.query(f"SELECT 1 FROM {self.name}.events LIMIT 1")
        except ProblemError as error:
            return error.detail
        return ""


def _advice(error: FatalError) -> str:
    """Return what to do about a refusal; the log has its text, which may quote values."""
    if error.code in UNMIGRATED_CODES:
        return Words("is the database migrated (sendlog migrate)?")
    if error.code in DENIED_CODES:
        return Words("its user of the settings may not do this")
    if error.code:
        return Words("error %(code)s; the text is in the log of the API", code=error.code)
    return Words("its client cannot use this server or user; the text is in the log of the API")


def _to_problem(error: TransientError | FatalError | BadRowsError) -> ProblemError:
    if isinstance(error, BadRowsError) or error.code == _BAD_PARAMETER_CODE:
        return ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "a value is none that its column can have"
        )
    if error.code == MEMORY_LIMIT_CODE:
        return unavailable("the answer takes too much memory; narrow the question")
    if error.code == _TIMEOUT_CODE:
        return unavailable("the answer takes too long; narrow the question, by date or recipient")
    log.warning("clickhouse_unreadable", error=str(error))
    if isinstance(error, FatalError):
        detail = Words("ClickHouse refuses: %(advice)s", advice=_advice(error))
        return unavailable(detail, retry_seconds=30)
    return unavailable("ClickHouse is away")
