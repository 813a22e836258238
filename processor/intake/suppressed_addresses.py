"""The addresses that are or were blacklisted: what intake goes by to pick sends to be refused.

It only picks: whether an address was listed at the time of a send, the rules decide, on what they
remember of it. So this may know too much (an address that was reset), and a replay finds in it what
the first run did. And it knows a moment too late: sends that were read before, perhaps by another
worker, or while decisions gave way to a backlog, are looked up once in the log, when all is in it
that was in Kafka at that moment.
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
    from projections.queries.suppressed_sends import Line

log = get(__name__)

#: Seconds between two looks at the history.
_EVERY: Final = 2.0
#: A line is written so soon after it was recorded, while the database is there.
_SOON: Final = timedelta(seconds=30)
#: Of a worker that cannot reach it, so late: what is older than usual is looked for once a minute.
#: (Of 2,000 facts a second 50 list an address: 30,000 lines, a third of a second to read.)
_LATE: Final = timedelta(minutes=10)
_A_MINUTE: Final = timedelta(minutes=1)
#: How far back a worker that starts looks for lines whose sends nobody may have looked up.
_AT_START: Final = timedelta(days=1)
#: Every worker knows a line so soon after it was recorded, or it is far behind anyway.
_KNOWN: Final = timedelta(seconds=5)
#: Lines whose sends are looked up at once.
_MOST: Final = 1_000


class History(Protocol):
    """What is read of the database; both block."""

    def lines(self, since: datetime | None) -> Sequence[Line]:
        """Return the lines that listed an address and were recorded since a time."""
        ...

    def sends(self, lines: Sequence[Line]) -> list[dict[str, Any]]:
        """Return the sends to the addresses of lines since each was listed."""
        ...


class Listed:
    """A set of addresses, eight bytes for each: a wrong member costs a question to the rules."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def add(self, whose: Address) -> None:
        """Take an address in."""
        self._hashes.add(hash(whose))

    def __contains__(self, whose: object) -> bool:
        return hash(whose) in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)


class Follower:
    """Keeps a set of listed addresses up to date, and feeds the rules the sends that were missed.

    `is_ours` tells whether this worker decides on an address, `known_until` up to which moment the
    log knows all that Kafka had.
    """

    def __init__(
        self,
        *,
        listed: Listed,
        history: History,
        feed: Callable[[list[dict[str, Any]]], Awaitable[None]],
        is_ours: Callable[[Address], bool],
        known_until: Callable[[], Awaitable[datetime]],
    ) -> None:
        self._listed = listed
        self._history = history
        self._feed = feed
        self._is_ours = is_ours
        self._known_until = known_until
        #: When the history was read last, None: never; and when with what was written late.
        self._read_at: datetime | None = None
        self._late_at = EPOCH
        #: Lines that were seen, and those whose sends are to be looked up, by the fact of each.
        self._seen: dict[str, datetime] = {}
        self._waiting: dict[str, Line] = {}

    async def run(self) -> None:
        """Follow the history, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Look at the history once."""
        now = datetime.now(UTC)
        try:
            await self._read(now)
            await self._look_up()
        except TransientError:
            pass  # intake waits for the same database, and says so
        except FatalError as error:
            log.warning("blacklist_not_read", error=str(error))

    async def _read(self, now: datetime) -> None:
        late = now >= self._late_at + _A_MINUTE
        since = self._read_at and self._read_at - (_LATE if late else _SOON)
        recent = since or now - _AT_START
        for line in await asyncio.to_thread(self._history.lines, since):
            self._listed.add(line.whose)
            if line.event_id not in self._seen and line.recorded_at > recent:
                self._waiting[line.event_id] = line
            self._seen[line.event_id] = line.recorded_at
        self._read_at = now
        if late:
            self._late_at = now
            self._seen = {name: at for name, at in self._seen.items() if at > now - 2 * _LATE}

    async def _look_up(self) -> None:
        # What is not ours, its worker looks up; perhaps it becomes ours before it is old.
        old = datetime.now(UTC) - _AT_START
        self._waiting = {n: line for n, line in self._waiting.items() if line.recorded_at > old}
        ours = [line for line in self._waiting.values() if self._is_ours(line.whose)]
        if not ours:
            return
        until = await self._known_until()
        due = [line for line in ours if line.recorded_at + _KNOWN <= until][:_MOST]
        if due:
            if missed := await asyncio.to_thread(self._history.sends, due):
                await self._feed(missed)
            for line in due:
                del self._waiting[line.event_id]
