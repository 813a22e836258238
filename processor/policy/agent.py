"""The policy agent and its clock: the policy, put to events, commands and the passing of time.

The steps for a batch, over all partitions:

1. look up in the log what the policy needs to know;
2. decide, address by address;
3. publish the decisions and wait for the broker to have them;
4. publish the new states and wait;
5. keep the states in memory;
6. ack.

A crash between any two of them repeats the batch on older states, which gives the same decisions
with the same ids.

Time passes at the moment that each state names: a retry is due, a suppression expires, something
may be pruned. It passes only up to the watermark, a second or two behind the clock. What was due
while no worker ran is due as soon as that has been read.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final, TypeAlias

from pydantic_core import to_json

from processor import metrics
from processor.intake import policy_feed
from processor.intake.dead_letters import DeadLetter, Rejection
from processor.kafka.batch_producer import OutgoingRecord, Publish
from processor.kafka.records import Chunk, Record
from processor.kafka.topics import DECISIONS_TOPIC, RETRIES_TOPIC, SUPPRESSIONS_TOPIC
from processor.logging import get
from processor.policy.config import Policies
from processor.policy.decide import decide, lookups_needed
from processor.policy.decisions import (
    AttemptSent,
    CommandApplied,
    CommandRejected,
    Decision,
    ReasonRecorded,
    RetryDue,
    SendRefused,
    Suppressed,
)
from processor.policy.evolve import next_wake_at, prune
from processor.policy.inputs import Input, LookupResult, Tick
from processor.policy.outputs import Outputs, to_outputs
from processor.policy.state import AddressState
from processor.policy.state_store import PartitionStates, StateStore
from schemas.addresses import Address
from schemas.events import MessageEvent, is_soft

log = get(__name__)

#: About how many inputs are decided on before their outcome is published.
MAX_BATCH_INPUTS: Final = 1_000
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

#: Labels of the metric, where they are not the names of the decisions' classes.
_METRIC_LABELS: Final[Mapping[type[Decision], str]] = {
    AttemptSent: "Resent",
    RetryDue: "RetryAsked",
    SendRefused: "Refused",
    ReasonRecorded: "Noted",
    CommandApplied: "Obeyed",
    CommandRejected: "CommandRefused",
}

Entry: TypeAlias = tuple[Address, Input]
Entries: TypeAlias = Mapping[PartitionStates, Sequence[Entry]]
#: Looks up in the log, by address, the messages to look up there.
FetchLookups: TypeAlias = Callable[
    [dict[Address, set[str]]], Awaitable[dict[Address, LookupResult]]
]
SendDeadLetters: TypeAlias = Callable[[Sequence[DeadLetter]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a batch led to in a partition."""

    decisions: list[OutgoingRecord]
    states: list[OutgoingRecord]
    unchanged: list[tuple[Address, datetime]]
    counts: Counter[str]
    suppressed: list[Address]


class PolicyAgent:
    """Puts inputs to the policy, and what is decided to the topics."""

    def __init__(
        self,
        *,
        states: StateStore,
        policies: Policies,
        fetch_lookups: FetchLookups,
        publish: Publish,
        dead_letter: SendDeadLetters,
        add_suppressed: Callable[[Address], None],
        wait_until_caught_up: Callable[[float], Awaitable[None]],
        watermark: Callable[[], Awaitable[datetime]],
        pause_feed: Callable[[bool], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._states = states
        self._policies = policies
        self._fetch_lookups = fetch_lookups
        self._publish = publish
        self._dead_letter = dead_letter
        self._add_suppressed = add_suppressed
        self._wait_until_caught_up = wait_until_caught_up
        self._watermark = watermark
        self._pause_feed = pause_feed
        self._waiting: list[tuple[Any, PartitionStates]] = []
        self._has_waiting = asyncio.Event()
        #: Held while states are decided on, so that an input and the clock never do at once.
        self._lock = asyncio.Lock()
        self._clock = clock

    async def take(self, event: Any) -> None:
        """Take a chunk of `delivery.policy`; it is acked when it has been decided on.

        Never waits for decisions: Faust has one queue for all topics, and intake would wait, too.
        """
        partition = await self._states.loaded(event.value.partition)
        self._waiting.append((event, partition))
        self._has_waiting.set()
        if self._waiting_bytes() > MAX_WAITING_INPUT_BYTES:
            self._pause_feed(True)

    async def run(self) -> None:
        """Decide on what was taken, and let time pass, for ever."""
        await asyncio.gather(self._decide_loop(), self._tick_loop())

    async def decide_waiting(self) -> None:
        """Decide on all that was taken, and ack it, unless its partition was revoked."""
        self._has_waiting.clear()
        taken, self._waiting = self._waiting, []
        entries: defaultdict[PartitionStates, list[Entry]] = defaultdict(list)
        revoked: set[PartitionStates] = set()
        for event, partition in taken:
            for record in event.value.records:
                entries[partition] += await self._read(event.value, record)
                if sum(map(len, entries.values())) >= MAX_BATCH_INPUTS:
                    revoked |= await self._yield_and_settle(entries)
                    entries.clear()
        revoked |= await self._yield_and_settle(entries)
        self._step6_ack(event for event, partition in taken if partition not in revoked)
        self._pause_feed(False)

    async def tick(self) -> None:
        """Let time pass once, as far as the watermark."""
        now = self._clock()
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

    def _waiting_bytes(self) -> int:
        chunks = (event.value for event, _ in self._waiting)
        return sum(len(record.value or b"") for chunk in chunks for record in chunk.records)

    def _due(self, now: datetime) -> Entries:
        partitions = self._states.ready()
        limit = 1 + MAX_BATCH_INPUTS // len(partitions)
        due = {partition: partition.take_due(now, limit) for partition in partitions}
        return {
            partition: [(address, Tick()) for address in addresses]
            for partition, addresses in due.items() if addresses
        }  # fmt: skip

    async def _read(self, chunk: Chunk, record: Record) -> Sequence[Entry]:
        try:
            return [
                policy_feed.entry_of(line) for line in policy_feed.lines_of(record.value or b"")
            ]
        except ValueError:
            rejection = Rejection(record, "it is no feed of the rules")
            await self._dead_letter([DeadLetter.of(chunk, rejection)])
            return []

    async def _yield_and_settle(self, entries: Entries) -> set[PartitionStates]:
        await self._wait_until_caught_up(MAX_YIELD_SECONDS)
        return await self._settle(entries)

    async def _settle(self, entries: Entries, now: datetime | None = None) -> set[PartitionStates]:
        """Take steps 1 to 5; return the partitions that were no longer ours by then."""
        async with self._lock:
            now = now or self._clock()
            before = {
                partition: {address: partition.get(address) for address, _ in batch}
                for partition, batch in entries.items()
            }
            lookups = await self._step1_look_up(entries, before, now)
            outcomes = await self._step2_decide(entries, before, lookups, now)
            await self._step3_publish_decisions(outcomes)
            await self._step4_publish_states(outcomes)
            self._step5_keep_states(outcomes, now)
        for outcome in outcomes.values():
            for address in outcome.suppressed:
                self._add_suppressed(address)
            for decision, count in outcome.counts.items():
                metrics.DECISIONS_TOTAL.labels(decision=decision).inc(count)
        return entries.keys() - outcomes.keys()

    async def _step1_look_up(
        self,
        entries: Entries,
        before: Mapping[PartitionStates, Mapping[Address, AddressState]],
        now: datetime,
    ) -> dict[Address, LookupResult]:
        messages: dict[Address, set[str]] = {}
        for partition, batch in entries.items():
            messages |= _messages_to_look_up(before[partition], batch, now)
        return await self._fetch_lookups(messages) if messages else {}

    async def _step2_decide(
        self,
        entries: Entries,
        before: Mapping[PartitionStates, Mapping[Address, AddressState]],
        lookups: Mapping[Address, LookupResult],
        now: datetime,
    ) -> dict[PartitionStates, _Outcome]:
        def decide_all() -> dict[PartitionStates, _Outcome]:
            return {
                partition: self._decide(partition, before[partition], batch, lookups, now)
                for partition, batch in entries.items()
            }

        return await asyncio.to_thread(decide_all)

    async def _step3_publish_decisions(self, outcomes: dict[PartitionStates, _Outcome]) -> None:
        await self._publish_owned(outcomes, lambda outcome: outcome.decisions)

    async def _step4_publish_states(self, outcomes: dict[PartitionStates, _Outcome]) -> None:
        await self._publish_owned(outcomes, lambda outcome: outcome.states)

    def _step5_keep_states(
        self, outcomes: Mapping[PartitionStates, _Outcome], now: datetime
    ) -> None:
        for partition, outcome in outcomes.items():
            partition.keep(outcome.states)
            for address, at in outcome.unchanged:
                partition.wake(address, max(at, now + MIN_REWAKE_INTERVAL))

    def _step6_ack(self, events: Iterable[Any]) -> None:
        for event in events:
            event.ack()

    async def _publish_owned(
        self,
        outcomes: dict[PartitionStates, _Outcome],
        records_of: Callable[[_Outcome], Sequence[OutgoingRecord]],
    ) -> None:
        """Publish what is of partitions still ours, and wait; drop the rest."""
        for partition in [each for each in outcomes if not self._states.owns_same(each)]:
            del outcomes[partition]
        records = [record for outcome in outcomes.values() for record in records_of(outcome)]
        if records:
            await self._publish(records)

    def _decide(
        self,
        partition: PartitionStates,
        before: Mapping[Address, AddressState],
        batch: Iterable[Entry],
        lookups: Mapping[Address, LookupResult],
        now: datetime,
    ) -> _Outcome:
        states = dict(before)
        outcome = _Outcome([], [], [], Counter(), [])
        for address, input_ in batch:
            state, policy = states[address], self._policies.of(address.tenant_id)
            decisions, after = decide(state, input_, now, policy, lookups.get(address))
            if decisions:
                outputs = to_outputs(address, state, decisions, after)
                outcome.decisions.extend(_records_of(address, outputs))
                outcome.counts.update(map(_metric_label, decisions))
                if any(isinstance(decision, Suppressed) for decision in decisions):
                    outcome.suppressed.append(address)
            states[address] = prune(after, now, policy)
        for address, state in states.items():
            wakes_at = next_wake_at(state, self._policies.of(address.tenant_id))
            if state != before[address]:
                outcome.states.append(partition.to_record(address, state, wakes_at))
            elif wakes_at is not None:
                outcome.unchanged.append((address, wakes_at))
        return outcome


def _metric_label(decision: Decision) -> str:
    return _METRIC_LABELS.get(type(decision), type(decision).__name__)


def _messages_to_look_up(
    states: Mapping[Address, AddressState], batch: Sequence[Entry], now: datetime
) -> dict[Address, set[str]]:
    """Return all that has to be looked up before the policy decides on these addresses."""
    messages: defaultdict[Address, set[str]] = defaultdict(set)
    met: set[Address] = set()
    for address, input_ in batch:
        message_ids = lookups_needed(states[address], input_, now)
        if address in met and isinstance(input_, MessageEvent) and is_soft(input_):
            message_ids = frozenset({input_.message_id})  # of a streak that began in this batch
        if message_ids is not None:
            messages[address] |= message_ids
        met.add(address)
    return messages


def _records_of(address: Address, outputs: Outputs) -> list[OutgoingRecord]:
    key = address.key.encode()
    records = [
        OutgoingRecord(DECISIONS_TOPIC, key, to_json(event, exclude_none=True))
        for event in outputs.events
    ]
    records += [
        OutgoingRecord(RETRIES_TOPIC, retry.id.encode(), retry.model_dump_json().encode())
        for retry in outputs.retries
    ]
    if outputs.entry_changed:
        entry = None if outputs.entry is None else outputs.entry.model_dump_json().encode()
        records.append(OutgoingRecord(SUPPRESSIONS_TOPIC, key, entry))
    return records
