"""Whether ClickHouse can be read and Kafka takes commands, as it was at most a second ago."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

import anyio
from anyio import CapacityLimiter, Lock, to_thread

#: However many ask, both are asked once in this time.
READINESS_SECONDS: Final = 1.0


class Away(NamedTuple):
    """What is away, in words; empty if it is not."""

    database: str
    kafka: str


class Readiness:
    """Asks the database for what is wrong with it, and Kafka whether it answers; both may block."""

    def __init__(
        self,
        database_problem: Callable[[], str],
        kafka_answers: Callable[[], bool],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._database_problem, self._kafka_answers = database_problem, kafka_answers
        self._clock = clock
        self._lock = Lock()
        self._away, self._checked_at = Away("", ""), float("-inf")
        # Of its own, because slow queries may occupy all others.
        self._threads = CapacityLimiter(2)

    async def away(self) -> Away:
        """Return what is away."""
        async with self._lock:
            if self._clock() - self._checked_at > READINESS_SECONDS:
                self._away = await self._check()
                self._checked_at = self._clock()
            return self._away

    async def _check(self) -> Away:
        reasons = {"database": "", "kafka": ""}

        async def check_database() -> None:
            check = self._database_problem
            reasons["database"] = await to_thread.run_sync(check, limiter=self._threads)

        async def check_kafka() -> None:
            if not await to_thread.run_sync(self._kafka_answers, limiter=self._threads):
                reasons["kafka"] = "Kafka is away: commands are refused"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(check_database)
            tasks.start_soon(check_kafka)
        return Away(**reasons)
