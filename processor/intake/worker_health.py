"""Whether a worker makes progress, and what it lacks, asked from another thread.

Liveness is about the worker alone: while Kafka or ClickHouse is away it waits, and to start it
again would not help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from processor.intake.writer import Intake
from processor.kafka.batch_producer import is_publishing_delayed
from processor.kafka.topics import POLICY_TOPIC
from processor.metrics_server import ask_loop

#: A step of a write that waits for nobody may take so long, beside what ClickHouse may take.
MAX_STEP_SECONDS: Final = 60.0


@dataclass(slots=True, kw_only=True)
class WorkerHealth:
    """What is known of a worker; its parts are read on its event loop alone."""

    loop: asyncio.AbstractEventLoop
    intake: Intake
    #: Seconds that one insert or query may take.
    timeout: float
    #: Whether the blacklist has been read, by which sends are judged.
    has_blacklist: Callable[[], bool]
    #: The policy's partitions whose states are still being read.
    reading_partitions: Callable[[], Sequence[int]]
    #: Why no broker takes a connection; empty: one does.
    kafka_problem: str = ""
    #: Whether the group has shared out partitions with this worker in it.
    has_joined: bool = False

    def observe_kafka(self, problem: str) -> None:
        """Take what the latest look at the broker met."""
        self.kafka_problem = problem

    def live(self) -> Sequence[str]:
        """Return why the worker makes no progress though it could; nothing: it does, or waits."""
        return ask_loop(self.loop, self._stalls)

    def ready(self) -> Sequence[str]:
        """Return what the worker lacks."""
        return ask_loop(self.loop, self._lacks)

    def _stalls(self) -> Iterator[str]:
        seconds = self.intake.seconds_without_progress()
        waits = self.intake.is_waiting_for_clickhouse or is_publishing_delayed()
        if seconds > self.timeout + MAX_STEP_SECONDS and not waits and not self.kafka_problem:
            yield f"no step of a write has ended for {seconds:.0f} s"

    def _lacks(self) -> Iterator[str]:
        if self.kafka_problem:
            yield f"Kafka: {self.kafka_problem}"
        if not self.has_joined:
            yield "Kafka: the group has not given this worker its share of partitions yet"
        if is_publishing_delayed():
            yield "Kafka: a topic takes no records"
        if self.intake.is_waiting_for_clickhouse:
            yield "ClickHouse: it is away or overloaded, and writes are tried again"
        if not self.has_blacklist():
            yield "the blacklist is still being read"
        if numbers := self.reading_partitions():
            places = ", ".join(f"{POLICY_TOPIC}/{number}" for number in numbers)
            yield f"the states of addresses are still being read: {places}"
