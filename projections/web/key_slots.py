"""How many requests of one key are worked on at once: the others of it wait, and nobody else."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from projections.web.problems import ProblemError
from projections.web.request_work import CURRENT_WORK
from schemas.words import Words

#: A fifth of the threads that queries run on.
MAX_KEY_REQUESTS: Final = 8
#: Each may take as long as somebody downloads.
MAX_KEY_EXPORTS: Final = 2
#: For a place, before the request is refused.
WAIT_SECONDS: Final = 5.0


class KeySlots:
    """Places for the work of each key, of which a request has one until it is answered."""

    def __init__(self, limit: int, wait_seconds: float, what: str = Words("requests")) -> None:
        self._limit, self._wait_seconds, self._what = limit, wait_seconds, what
        self._places: dict[str, asyncio.Semaphore] = {}
        self._users: dict[str, int] = {}

    async def enter(self, key: str) -> None:
        """Take a place for the current request. Raises a 429 problem if none is free in time."""
        work = CURRENT_WORK.get()
        if work is None:
            return
        work.key = key
        places = self._places.setdefault(key, asyncio.Semaphore(self._limit))
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await places.acquire()
        except TimeoutError:
            self._leave(key)
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                Words(
                    "there are %(limit)s %(what)s of this key or person under way already",
                    limit=self._limit,
                    what=self._what,
                ),
                headers={"Retry-After": "1"},
            ) from None
        except BaseException:
            self._leave(key)
            raise
        work.at_end.callback(self._leave, key)
        work.at_end.callback(places.release)

    def _leave(self, key: str) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key], self._places[key]
