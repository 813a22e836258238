"""What is to be written to the audit log: collected by requests, written beside them.

No request waits for ClickHouse because of it. What ClickHouse does not take is kept, up to a bound,
and tried again; what is over the bound is lost, and counted. A crash loses the last second.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import structlog

from projections.clickhouse.client import BadRowsError, ClassifiedError
from projections.queries.audit import AuditAction, AuditLine, store_audit_lines

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: What waits for ClickHouse: at most some 40 MB.
MAX_WAITING_LINES: Final = 20_000
MAX_INSERT_LINES: Final = 2_000
FLUSH_SECONDS: Final = 1.0
#: Between two attempts while ClickHouse does not take them.
RETRY_SECONDS: Final = 5.0
#: For the last lines, when the process stops.
CLOSE_SECONDS: Final = 5.0
#: The same look again within this time is the same look: pages are reloaded and polled.
LOOK_SECONDS: Final = 300.0
MAX_RECENT_LINES: Final = 20_000
#: How often the log says that lines are not written.
COMPLAINT_SECONDS: Final = 60.0
#: Actions that may be repeated by a program, or by anybody.
_REPEATED_ACTIONS: Final[frozenset[AuditAction]] = frozenset({"look", "embed_token"})
log = structlog.stdlib.get_logger(__name__)


class AuditTrail:
    """Lines on their way to the audit log. Used from many threads.

    `connect` makes a client that may write, and raises as `clickhouse.client.connect` does.
    `report` is told, after each attempt, how many lines were written and lost since the last one,
    and how many wait. `clock` gives seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        database: str,
        *,
        report: Callable[[int, int, int], None] = lambda *_: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._connect, self._database = connect, database
        self._report, self._clock = report, clock
        self._waiting: deque[AuditLine] = deque()
        self._recent: OrderedDict[tuple[object, ...], float] = OrderedDict()
        self._lost = 0
        self._lock, self._flush_lock = Lock(), Lock()
        self._wake, self._stops = Event(), False
        self._thread: Thread | None = None
        self._client: Any = None
        self._complained_at = float("-inf")

    def add(self, line: AuditLine) -> None:
        """Take a line; it is written within seconds, if it is not the same look again."""
        with self._lock:
            if self._is_repeated(line):
                return
            if len(self._waiting) >= MAX_WAITING_LINES:
                self._lost += 1
            else:
                self._waiting.append(line)
            if self._thread is None and not self._stops:
                self._thread = Thread(target=self._run, name="audit", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Write what waits. Raises `ClassifiedError`; then it waits on."""
        with self._flush_lock:
            try:
                while lines := self._first_lines():
                    written, lost = len(lines), 0
                    try:
                        store_audit_lines(self._connected(), self._database, lines)
                    except BadRowsError as error:  # never to be taken: it would stop all others
                        log.warning("audit_lines_refused", count=len(lines), error=str(error))
                        written, lost = 0, len(lines)
                    self._done(len(lines))
                    self._report(written, lost + self._take_lost(), len(self._waiting))
            except ClassifiedError:
                self._client = None
                self._report(0, self._take_lost(), len(self._waiting))
                raise

    def close(self) -> None:
        """Write what waits, for a few seconds at most, and stop."""
        with self._lock:
            self._stops = True
            thread = self._thread
        self._wake.set()
        if thread is not None:
            thread.join(CLOSE_SECONDS)
        with self._lock:  # as new, should the application start again
            self._thread, self._stops = None, False
            self._wake.clear()
        if self._waiting:
            log.warning("audit_lines_lost", count=len(self._waiting))

    def _run(self) -> None:
        pause = FLUSH_SECONDS
        while not self._stops:
            self._wake.wait(pause)
            pause = FLUSH_SECONDS if self._flushed() else RETRY_SECONDS

    def _flushed(self) -> bool:
        """Write what waits; return whether that worked, and complain now and then if not."""
        try:
            self.flush()
        except ClassifiedError as error:
            if self._clock() - self._complained_at >= COMPLAINT_SECONDS:
                self._complained_at = self._clock()
                log.warning("audit_not_written", waiting=len(self._waiting), error=str(error))
            return False
        return True

    def _connected(self) -> Client:
        self._client = self._client or self._connect()
        client: Client = self._client
        return client

    def _first_lines(self) -> list[AuditLine]:
        with self._lock:
            return list(islice(self._waiting, MAX_INSERT_LINES))

    def _done(self, count: int) -> None:
        with self._lock:
            for _ in range(count):
                self._waiting.popleft()

    def _take_lost(self) -> int:
        with self._lock:
            lost, self._lost = self._lost, 0
            return lost

    def _is_repeated(self, line: AuditLine) -> bool:
        if line.action not in _REPEATED_ACTIONS and (line.action, line.outcome) != (
            "sign_in", "refused",
        ):  # fmt: skip
            return False
        now = self._clock()
        look = (
            line.tenant_id, line.key_id, line.actor, line.via, line.action, line.object_type,
            line.object, line.detail, "" if line.key_id else line.client,
        )  # fmt: skip
        if now - self._recent.get(look, float("-inf")) < LOOK_SECONDS:
            return True
        self._recent[look] = now
        self._recent.move_to_end(look)
        while len(self._recent) > MAX_RECENT_LINES:
            self._recent.popitem(last=False)
        return False
