"""The addresses that are or were suppressed: a filter that picks the sends the policy has to see.

False positives are allowed: whether an address was suppressed at the time of a send, the policy
decides. So an address that was reset stays in, and a replay finds in it what the first run did. And
it is a moment late: a send that was read before, perhaps by another worker, or while decisions
waited for a backlog, is looked up once in the log, as soon as the log has all that Kafka had at
that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from processor.logging import get
from projections.clickhouse.client import FatalError, TransientError
from schemas.addresses import Address
from schemas.events import EPOCH

if TYPE_CHECKING:
    from projections.queries.suppressed_sends import SuppressionRow

log = get(__name__)

POLL_INTERVAL_SECONDS: Final = 2.0
#: A row of the history is inserted so soon after it was recorded, while the database is there.
USUAL_DELAY: Final = timedelta(seconds=30)
#: By a worker that could not reach it, so late: what is older than usual is asked for only once a
#: minute, for it may be many rows.
MAX_DELAY: Final = timedelta(minutes=10)
LATE_POLL_INTERVAL: Final = timedelta(minutes=1)
#: How far back a worker that starts looks for rows whose sends nobody may have looked up.
START_WINDOW: Final = timedelta(days=1)
#: Every worker knows a row so soon after it was recorded, or it is far behind anyway.
PROPAGATION_DELAY: Final = timedelta(seconds=5)
#: Rows whose sends are looked up at once.
MAX_LOOKUP_ROWS: Final = 1_000


class History(Protocol):
    """What is read of the database; both block."""

    def suppressions(self, since: datetime | None) -> Sequence[SuppressionRow]:
        """Return the rows that suppressed an address and were recorded since a time."""
        ...

    def sends(self, rows: Sequence[SuppressionRow]) -> list[dict[str, Any]]:
        """Return the sends to the addresses of rows since each was suppressed."""
        ...


class SuppressedAddresses:
    """A set of addresses, kept as their hashes."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def add(self, address: Address) -> None:
        """Take an address in."""
        self._hashes.add(hash(address))

    def __contains__(self, address: object) -> bool:
        return hash(address) in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)


class SuppressionFollower:
    """Keeps a set of suppressed addresses up to date, and feeds the policy the sends it missed.

    `owns` tells whether this worker decides on an address, `watermark` up to which moment the log
    has all that Kafka had.
    """

    def __init__(
        self,
        *,
        suppressed: SuppressedAddresses,
        history: History,
        feed: Callable[[list[dict[str, Any]]], Awaitable[None]],
        owns: Callable[[Address], bool],
        watermark: Callable[[], Awaitable[datetime]],
    ) -> None:
        self._suppressed = suppressed
        self._history = history
        self._feed = feed
        self._owns = owns
        self._watermark = watermark
        #: When the history was read last, None: never; and when with what was inserted late.
        self._read_at: datetime | None = None
        self._read_late_at = EPOCH
        #: When each row that was read was recorded, and the rows whose sends are to be looked up,
        #: both by event id.
        self._known_rows: dict[str, datetime] = {}
        self._pending_rows: dict[str, SuppressionRow] = {}

    async def run(self) -> None:
        """Follow the history, for ever."""
        while True:
            await self.poll()
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def poll(self) -> None:
        """Read what is new in the history, and look up sends that were missed."""
        now = datetime.now(UTC)
        try:
            await self._read(now)
            await self._look_up_sends()
        except TransientError:
            pass  # intake waits for the same database, and says so
        except FatalError as error:
            log.warning("blacklist_not_read", error=str(error))

    async def _read(self, now: datetime) -> None:
        with_late = now >= self._read_late_at + LATE_POLL_INTERVAL
        since = self._read_at and self._read_at - (MAX_DELAY if with_late else USUAL_DELAY)
        recent = since or now - START_WINDOW
        for row in await asyncio.to_thread(self._history.suppressions, since):
            self._suppressed.add(row.address)
            if row.event_id not in self._known_rows and row.recorded_at > recent:
                self._pending_rows[row.event_id] = row
            self._known_rows[row.event_id] = row.recorded_at
        self._read_at = now
        if with_late:
            self._read_late_at = now
            oldest = now - 2 * MAX_DELAY
            self._known_rows = {
                event_id: at for event_id, at in self._known_rows.items() if at > oldest
            }

    async def _look_up_sends(self) -> None:
        # Another worker looks up what it owns; perhaps it becomes ours before it is old.
        oldest = datetime.now(UTC) - START_WINDOW
        self._pending_rows = {
            event_id: row for event_id, row in self._pending_rows.items()
            if row.recorded_at > oldest
        }  # fmt: skip
        ours = [row for row in self._pending_rows.values() if self._owns(row.address)]
        if not ours:
            return
        known_until = await self._watermark()
        due = [row for row in ours if row.recorded_at + PROPAGATION_DELAY <= known_until]
        if due := due[:MAX_LOOKUP_ROWS]:
            if sends := await asyncio.to_thread(self._history.sends, due):
                await self._feed(sends)
            for row in due:
                del self._pending_rows[row.event_id]
