"""The addresses that are or were blacklisted: what intake goes by to pick sends to be refused.

It only picks: whether an address was listed at the time of a send, the rules decide, on what they
remember of it. So this may know too much (an address that was reset), and a replay finds in it what
the first run did. It may also know something too late: an address that another worker listed a
moment ago. Therefore sends to newly listed addresses are looked for once more in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from processor.logging import get
from projections.store import FatalError, TransientError
from schemas.decisions import Address

if TYPE_CHECKING:
    from projections.listed import Line

log = get(__name__)

#: Seconds between two looks at the history.
_EVERY: Final = 1.0
#: A line may be written this long after it was recorded: a database that was away.
_LATE: Final = timedelta(minutes=10)
#: Seconds after which the log is searched for sends that were read before a line was known here:
#: soon, and once more when all that was waiting for a write then has been written.
_LOOKS: Final = (2.0, 30.0)


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


async def follow(
    listed: Listed,
    history: History,
    feed: Callable[[list[dict[str, Any]]], Awaitable[None]],
) -> None:
    """Keep `listed` up to date, and `feed` the sends that were missed; never returns."""
    known: dict[str, datetime] = {}
    searches: list[tuple[datetime, Sequence[Line]]] = []
    since: datetime | None = None
    while True:
        now = datetime.now(UTC)
        try:
            lines = await asyncio.to_thread(history.lines, since)
            for line in lines:
                listed.add(line.whose)
            new = [line for line in lines if line.event_id not in known]
            recent = [line for line in new if line.recorded_at > now - _LATE]
            if recent:
                searches += [(now + timedelta(seconds=after), recent) for after in _LOOKS]
            due = [line for at, found in searches if at <= now for line in found]
            if due and (missed := await asyncio.to_thread(history.sends, due)):
                await feed(missed)
            searches = [search for search in searches if search[0] > now]
            known |= {line.event_id: line.recorded_at for line in new}
            known = {name: at for name, at in known.items() if at > now - 2 * _LATE}
            since = now - _LATE
        except TransientError:
            pass  # intake waits for the same database, and says so
        except FatalError as error:
            log.warning("blacklist_not_read", error=str(error))
        await asyncio.sleep(_EVERY)
