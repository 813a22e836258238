"""The policy agent and its clock: the policy, put to events, commands and the passing of time.

The steps for a batch, over all partitions:

1. look up in the log what the policy needs to know;
2. decide, address by address;
3. publish the decisions and the new states, of each partition in one transaction;
4. keep the states in memory;
5. ack.

A crash before the end of step 3 repeats the batch on older states, which gives the same decisions
with the same ids; a later one repeats it on the new states, to which all of it is a copy.

Only one worker can publish for a partition: who is assigned it takes over its transactions, before
it reads its states. One that was paused and goes on has its transaction refused. It then drops its
work, and takes over again only if the partition is still assigned to it.

Time passes at the moment that each state names: a retry is due, a suppression expires, something
may be pruned. It passes only up to the watermark, a second or two behind the clock. What was due
while no worker ran is due as soon as that has been read.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from processor import metrics
from processor.intake.dead_letters import DeadLetter
from processor.kafka.batch_producer import Publish
from processor.kafka.broker_clock import BrokerClock
from processor.kafka.fenced_producer import TransactionLostError
from processor.logging import get
from processor.policy.batch import Batch, Entry, Outcome, read_record
from processor.policy.config import Policies
from processor.policy.inputs import LookupResult, Tick
from processor.policy.state_store import PartitionStates, StateStore
from schemas.addresses import Address

log = get(__name__)

#: About how many inputs are decided on before their outcome is published.
MAX_BATCH_INPUTS: Final = 2_000
#: Bytes that may wait to be decided on; then the feed is paused.
MAX_WAITING_INPUT_BYTES: Final = 4 * 1024 * 1024
TICK_INTERVAL_SECONDS: Final = 0.25
#: What is fed at one time comes partition by partition, within so many seconds of each other.
GATHER_SECONDS: Final = 0.1
#: Batches begin so far apart, at least: however few addresses it is about, a lookup costs the
#: database as much as a small write (E-019).
MIN_BATCH_INTERVAL_SECONDS: Final = 1.0
#: For so long a batch yields to events that wait to be written: while a worker catches up,
#: decisions cost it a few percent of its pace instead of a third (E-044).
MAX_YIELD_SECONDS: Final = 5.0
#: A state that time did not change is looked at again after this, at the earliest.
MIN_REWAKE_INTERVAL: Final = timedelta(seconds=1)
#: While the worker's clock is ahead, the broker is asked for its time so often.
CLOCK_CHECK_INTERVAL_SECONDS: Final = 10.0

Entries: TypeAlias = Mapping[PartitionStates, Sequence[Entry]]
#: Looks up in the log, by address, the messages to look up there.
FetchLookups: TypeAlias = Callable[
    [dict[Address, set[str]]], Awaitable[dict[Address, LookupResult]]
]
SendDeadLetters: TypeAlias = Callable[[Sequence[DeadLetter]], Awaitable[None]]


class PolicyAgent:
    """Puts inputs to the policy, and what is decided to the topics."""

    def __init__(
        self,
        *,
        states: StateStore,
        policies: Policies,
        fetch_lookups: FetchLookups,
        dead_letter: SendDeadLetters,
        feed: Publish,
        partitions: int,
        add_suppressed: Callable[[Address], None],
        wait_until_caught_up: Callable[[float], Awaitable[None]],
        watermark: Callable[[], Awaitable[datetime]],
        pause_feed: Callable[[bool], None],
        clock: BrokerClock,
        mailers: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """Take what it works with; `mailers`: those of a tenant that have topics of their own."""
        self._states = states
        self._policies = policies
        self._fetch_lookups = fetch_lookups
        self._dead_letter = dead_letter
        self._feed = feed
        self._partitions = partitions
        self._add_suppressed = add_suppressed
        self._wait_until_caught_up = wait_until_caught_up
        self._watermark = watermark
        self._pause_feed = pause_feed
        self._waiting: list[Any] = []
        self._has_waiting = asyncio.Event()
        #: Held while states are decided on, so that an input and the clock never do at once.
        self._lock = asyncio.Lock()
        self._clock = clock
        self._mailers = mailers
        self._clock_checked_at = -CLOCK_CHECK_INTERVAL_SECONDS

    def take(self, event: Any) -> None:
        """Take a chunk of `delivery.policy`; it is acked when it has been decided on.

        Never waits, for decisions or for states that are still read: Faust has one queue for all
        topics, and intake would wait, too.
        """
        self._waiting.append(event)
        self._has_waiting.set()
        if self._is_full():
            self._pause_feed(True)

    def revoke(self, numbers: Iterable[int]) -> None:
        """Let go of partitions: what waits of them, their next owner reads again."""
        revoked = set(numbers)
        self._states.revoke(revoked)
        self._waiting = [each for each in self._waiting if each.value.partition not in revoked]

    async def run(self) -> None:
        """Decide on what was taken, and let time pass, for ever."""
        try:
            await asyncio.gather(self._decide_loop(), self._tick_loop())
        finally:
            await self._states.close()

    async def decide_waiting(self) -> None:
        """Decide on what was taken of partitions whose states are complete, and ack it.

        What is lost meanwhile, to another owner or by an error of the broker, is not acked. If the
        partition is still ours, it waits for its states to be read again.
        """
        self._has_waiting.clear()
        ready = {partition.number: partition for partition in self._states.ready()}
        taken = [event for event in self._waiting if event.value.partition in ready]
        self._waiting = [event for event in self._waiting if event.value.partition not in ready]
        entries: defaultdict[PartitionStates, list[Entry]] = defaultdict(list)
        lost: set[PartitionStates] = set()
        for event in taken:
            for record in event.value.records:
                read = read_record(event.value, record, self._partitions)
                if read.dead_letters:
                    await self._dead_letter(read.dead_letters)
                if read.misplaced:
                    await self._feed(read.misplaced)
                entries[ready[event.value.partition]] += read.entries
                if sum(map(len, entries.values())) >= MAX_BATCH_INPUTS:
                    lost |= await self._yield_and_settle(entries)
                    entries.clear()
        lost |= await self._yield_and_settle(entries)
        lost_numbers = {partition.number for partition in lost}
        self._step5_ack(event for event in taken if event.value.partition not in lost_numbers)
        self._waiting[:0] = [
            event for event in taken
            if event.value.partition in lost_numbers and self._states.owns(event.value.partition)
        ]  # fmt: skip
        if self._waiting:
            self._has_waiting.set()
        if not self._is_full():
            self._pause_feed(False)

    async def tick(self) -> None:
        """Let time pass once, as far as the watermark."""
        if self._clock.is_in_doubt:
            await self._check_clock()
        now = self._clock.now()
        if any(partition.wakes_before(now) for partition in self._states.ready()):
            now = min(now, await self._watermark())
            while ticks := self._due(now):
                await self._settle(ticks, now)
        self._states.count()

    async def _decide_loop(self) -> None:
        began = -MIN_BATCH_INTERVAL_SECONDS
        while True:
            await self._has_waiting.wait()
            until_next = began + MIN_BATCH_INTERVAL_SECONDS - monotonic()
            await asyncio.sleep(max(GATHER_SECONDS, until_next))
            began = monotonic()
            await self.decide_waiting()

    async def _tick_loop(self) -> None:
        while True:
            await self.tick()
            await asyncio.sleep(TICK_INTERVAL_SECONDS)

    async def _check_clock(self) -> None:
        """Ask the broker for its time, now and then: the clock may be right by now, or have been.

        After the machine was suspended the time that passed is more than what is known to have.
        """
        if monotonic() < self._clock_checked_at + CLOCK_CHECK_INTERVAL_SECONDS:
            return
        self._clock_checked_at = monotonic()
        for partition in self._states.ready()[:1]:
            try:
                await self._publish(partition, [partition.clock_record()])
            except TransactionLostError as error:
                self._lose(partition, error)

    def _is_full(self) -> bool:
        chunks = (event.value for event in self._waiting)
        size = sum(len(record.value or b"") for chunk in chunks for record in chunk.records)
        return size > MAX_WAITING_INPUT_BYTES

    def _due(self, now: datetime) -> Entries:
        partitions = self._states.ready()
        limit = 1 + MAX_BATCH_INPUTS // max(1, len(partitions))
        due = {partition: partition.take_due(now, limit) for partition in partitions}
        return {
            partition: [Entry(address, Tick()) for address in addresses]
            for partition, addresses in due.items() if addresses
        }  # fmt: skip

    async def _yield_and_settle(self, entries: Entries) -> set[PartitionStates]:
        await self._wait_until_caught_up(MAX_YIELD_SECONDS)
        return await self._settle(entries)

    async def _settle(self, entries: Entries, now: datetime | None = None) -> set[PartitionStates]:
        """Take steps 1 to 4; return the partitions that were lost, or no longer ours, by then."""
        async with self._lock:
            now = now or self._clock.now()
            batches = {
                partition: Batch(partition, batch, self._mailers)
                for partition, batch in entries.items()
            }
            lookups = await self._step1_look_up(batches, now)
            outcomes = await self._step2_decide(batches, lookups, now)
            outcomes = await self._step3_publish(outcomes)
            self._step4_keep_states(outcomes, now)
        for outcome in outcomes.values():
            if outcome.dead_letters:
                await self._dead_letter(outcome.dead_letters)
            for address in outcome.suppressed:
                self._add_suppressed(address)
            for decision, count in outcome.counts.items():
                metrics.DECISIONS_TOTAL.labels(decision=decision).inc(count)
        return entries.keys() - outcomes.keys()

    async def _step1_look_up(
        self, batches: Mapping[PartitionStates, Batch], now: datetime
    ) -> dict[Address, LookupResult]:
        messages: dict[Address, set[str]] = {}
        for batch in batches.values():
            messages |= batch.messages_to_look_up(now)
        return await self._fetch_lookups(messages) if messages else {}

    async def _step2_decide(
        self,
        batches: Mapping[PartitionStates, Batch],
        lookups: Mapping[Address, LookupResult],
        now: datetime,
    ) -> dict[PartitionStates, Outcome]:
        def decide_all() -> dict[PartitionStates, Outcome]:
            return {
                partition: batch.decide(self._policies, lookups, now)
                for partition, batch in batches.items()
            }

        return await asyncio.to_thread(decide_all)

    async def _step3_publish(
        self, outcomes: Mapping[PartitionStates, Outcome]
    ) -> dict[PartitionStates, Outcome]:
        """Publish what is of partitions still ours; return what has been."""
        ours = {each: outcome for each, outcome in outcomes.items() if self._states.owns_same(each)}
        results = await asyncio.gather(
            *(self._publish(partition, outcome.records) for partition, outcome in ours.items()),
            return_exceptions=True,
        )
        for partition, result in zip(list(ours), results, strict=True):
            if isinstance(result, TransactionLostError):
                self._lose(partition, result)
                del ours[partition]
            elif result is not None:
                raise result
        return ours

    async def _publish(self, partition: PartitionStates, records: Sequence[Any]) -> None:
        if records and (broker_time := await partition.publisher.publish(records)):
            self._clock.observe(broker_time)

    def _lose(self, partition: PartitionStates, error: TransactionLostError) -> None:
        log.warning("policy_partition_lost", partition=partition.number, error=str(error))
        self._states.reload(partition)

    def _step4_keep_states(
        self, outcomes: Mapping[PartitionStates, Outcome], now: datetime
    ) -> None:
        for partition, outcome in outcomes.items():
            partition.keep(outcome.states)
            for address, at in outcome.unchanged:
                partition.wake(address, max(at, now + MIN_REWAKE_INTERVAL))

    def _step5_ack(self, events: Iterable[Any]) -> None:
        for event in events:
            event.ack()
