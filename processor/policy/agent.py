"""The policy agent and the scheduler: the rules, put to facts, commands and the passing of time.

The steps for a batch, of all partitions: (1) ask the log what the rules need to know; (2) decide,
address by address; (3) publish what is decided and wait for the broker to have it; (4) publish the
new states and wait; (5) remember them, and only then ack. A crash between any two of them repeats
the batch on older states, which gives the same decisions with the same ids.

Time is put to the rules by the scheduler, at the moment that each state names: a retry is due, a
listing expires, something may be forgotten. It passes only as far as all is known that Kafka had by
then (`progress`), a second or two behind the clock. What was due while no worker ran is due as soon
as that has been read.
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
from processor.intake.decoder import DeadLetter, dead_letter
from processor.kafka.batch_producer import Outgoing, Publish
from processor.kafka.records import Chunk, Record
from processor.kafka.topics import DECISIONS, RETRIES, SUPPRESSIONS
from processor.logging import get
from processor.policy.config import Policies
from processor.policy.decide import asks, decide, forget, wakes_at
from processor.policy.decisions import Suppressed
from processor.policy.inputs import Event, Heard, Tick, is_soft
from processor.policy.outputs import Announcement, announce
from processor.policy.state import State
from processor.policy.state_store import Partition, States
from schemas.addresses import Address
from schemas.events import MessageEvent

log = get(__name__)

#: Events decided on before their outcome is published, at most about.
_MOST: Final = 1_000
#: Bytes that may wait to be decided on; then no more is fetched for a while.
_MOST_WAITING: Final = 4 * 1024 * 1024
#: How often the scheduler looks, in seconds.
_LOOKS: Final = 0.25
#: What is fed at one time comes partition by partition, within so many seconds of each other.
_GATHERS: Final = 0.1
#: Batches begin so many seconds after each other, at least: however few addresses it is about, a
#: question to the log costs the database as much as a small write.
_EVERY: Final = 1.0
#: For so many seconds a batch gives way to facts that wait to be written: while a worker catches
#: up, decisions cost it a few percent of its pace instead of a third.
_GIVES_WAY: Final = 5.0
#: What time did not change is looked at again after this, at the earliest.
_AGAIN: Final = timedelta(seconds=1)

Entry: TypeAlias = tuple[Address, Event]
Entries: TypeAlias = Mapping[Partition, Sequence[Entry]]
#: Asks the log: by address, which messages are asked about.
Hear: TypeAlias = Callable[[dict[Address, set[str]]], Awaitable[dict[Address, Heard]]]
Bury: TypeAlias = Callable[[Sequence[DeadLetter]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a batch led to in a partition."""

    records: list[Outgoing]
    states: list[Outgoing]
    unchanged: list[tuple[Address, datetime]]
    counts: Counter[str]
    listed: list[Address]


class Decisions:
    """Puts events to the rules, and what is decided to the topics."""

    def __init__(
        self,
        *,
        states: States,
        policies: Policies,
        hear: Hear,
        publish: Publish,
        bury: Bury,
        list_address: Callable[[Address], None],
        intake_keeps_up: Callable[[float], Awaitable[None]],
        known_until: Callable[[], Awaitable[datetime]],
        hold: Callable[[bool], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._states = states
        self._policies = policies
        self._hear = hear
        self._publish = publish
        self._bury = bury
        self._list = list_address
        self._intake_keeps_up = intake_keeps_up
        self._known_until = known_until
        self._hold = hold
        self._waiting: list[tuple[Any, Partition]] = []
        self._came = asyncio.Event()
        #: Held while states are decided on, so that an event and the clock never do at once.
        self._deciding = asyncio.Lock()
        self._clock = clock

    async def take(self, event: Any) -> None:
        """Take a chunk of `delivery.policy`; it is acked when it has been decided on.

        Never waits for decisions: Faust has one queue for all topics, and intake would wait, too.
        """
        partition = await self._states.opened(event.value.partition)
        self._waiting.append((event, partition))
        self._came.set()
        if self._size() > _MOST_WAITING:
            self._hold(True)

    def _size(self) -> int:
        chunks = (event.value for event, _ in self._waiting)
        return sum(len(record.value or b"") for chunk in chunks for record in chunk.records)

    async def decide_waiting(self) -> None:
        """Decide on all that was taken, and ack it, unless its partition is taken away."""
        self._came.clear()
        taken, self._waiting = self._waiting, []
        waiting: defaultdict[Partition, list[Entry]] = defaultdict(list)
        lost: set[Partition] = set()
        for event, partition in taken:
            for record in event.value.records:
                waiting[partition] += await self._read(event.value, record)
                if sum(map(len, waiting.values())) >= _MOST:
                    lost |= await self._give_way_and_settle(waiting)
                    waiting.clear()
        lost |= await self._give_way_and_settle(waiting)
        for event, partition in taken:
            if partition not in lost:
                event.ack()
        self._hold(False)

    async def pass_time(self) -> None:
        """Let time pass once, as far as all is known that Kafka had by then."""
        now = self._clock()
        if any(each.wakes_before(now) for each in self._states.open()):
            now = min(now, await self._known_until())
            while ticks := self._due(now):
                await self._settle(ticks, now)
        self._states.count()

    def _due(self, now: datetime) -> Entries:
        ours = self._states.open()
        found = {each: each.due(now, 1 + _MOST // len(ours)) for each in ours}
        return {each: [(whose, Tick()) for whose in due] for each, due in found.items() if due}

    async def _give_way_and_settle(self, entries: Entries) -> set[Partition]:
        await self._intake_keeps_up(_GIVES_WAY)
        return await self._settle(entries)

    async def _read(self, chunk: Chunk, record: Record) -> Sequence[Entry]:
        try:
            return policy_feed.entries(record.value or b"")
        except ValueError:
            await self._bury([dead_letter(chunk, record, "it is no feed of the rules")])
            return []

    async def run(self) -> None:
        """Put to the rules what was taken, and time, for ever."""
        await asyncio.gather(self._decide_for_ever(), self._pass_time_for_ever())

    async def _decide_for_ever(self) -> None:
        began = -_EVERY
        while True:
            await self._came.wait()
            await asyncio.sleep(max(_GATHERS, began + _EVERY - monotonic()))
            began = monotonic()
            await self.decide_waiting()

    async def _pass_time_for_ever(self) -> None:
        while True:
            await self.pass_time()
            await asyncio.sleep(_LOOKS)

    async def _settle(self, entries: Entries, now: datetime | None = None) -> set[Partition]:
        """Decide, publish, remember; return the partitions that were no longer ours by then."""
        async with self._deciding:
            now = now or self._clock()
            made = await self._decide_all(entries, now)
            await self._publish_of(made, lambda each: each.records)
            await self._publish_of(made, lambda each: each.states)
            for partition, outcome in made.items():
                partition.keep(outcome.states)
                for whose, at in outcome.unchanged:
                    partition.wake(whose, max(at, now + _AGAIN))
        for outcome in made.values():
            for whose in outcome.listed:
                self._list(whose)
            for decision, count in outcome.counts.items():
                metrics.DECISIONS.labels(decision=decision).inc(count)
        return entries.keys() - made.keys()

    async def _publish_of(
        self, made: dict[Partition, _Outcome], which: Callable[[_Outcome], Sequence[Outgoing]]
    ) -> None:
        """Publish of what is still ours, and wait; drop the rest."""
        for partition in [each for each in made if not self._states.holds(each)]:
            del made[partition]
        if records := [record for outcome in made.values() for record in which(outcome)]:
            await self._publish(records)

    async def _decide_all(self, entries: Entries, now: datetime) -> dict[Partition, _Outcome]:
        before = {
            each: {whose: each.get(whose) for whose, _ in some} for each, some in entries.items()
        }
        asked: dict[Address, set[str]] = {}
        for partition, some in entries.items():
            asked |= _asked(before[partition], some, now)
        heard = await self._hear(asked) if asked else {}

        def decide_all() -> dict[Partition, _Outcome]:
            return {
                each: self._decide(each, before[each], some, now, heard)
                for each, some in entries.items()
            }

        return await asyncio.to_thread(decide_all)

    def _decide(
        self,
        partition: Partition,
        before: Mapping[Address, State],
        entries: Iterable[Entry],
        now: datetime,
        heard: Mapping[Address, Heard],
    ) -> _Outcome:
        states = dict(before)
        made = _Outcome([], [], [], Counter(), [])
        for whose, event in entries:
            state, policy = states[whose], self._policies.of(whose.tenant_id)
            decisions, after = decide(state, event, now, policy, heard.get(whose))
            if decisions:
                made.records.extend(_records(whose, announce(whose, state, decisions, after)))
                made.counts.update(type(each).__name__ for each in decisions)
                if any(isinstance(each, Suppressed) for each in decisions):
                    made.listed.append(whose)
            states[whose] = forget(after, now, policy)
        for whose, state in states.items():
            wakes = wakes_at(state, self._policies.of(whose.tenant_id))
            if state != before[whose]:
                made.states.append(partition.record(whose, state, wakes))
            elif wakes is not None:
                made.unchanged.append((whose, wakes))
        return made


def _asked(
    states: Mapping[Address, State], entries: Sequence[Entry], now: datetime
) -> dict[Address, set[str]]:
    """Return all that the log has to be asked before the rules decide on these addresses."""
    asked: defaultdict[Address, set[str]] = defaultdict(set)
    seen: set[Address] = set()
    for whose, event in entries:
        names = asks(states[whose], event, now)
        if whose in seen and isinstance(event, MessageEvent) and is_soft(event):
            names = frozenset({event.message_id})  # of a streak that began in this batch
        if names is not None:
            asked[whose] |= names
        seen.add(whose)
    return asked


def _records(whose: Address, said: Announcement) -> list[Outgoing]:
    key = whose.key.encode()
    records = [Outgoing(DECISIONS, key, to_json(fact, exclude_none=True)) for fact in said.facts]
    records += [
        Outgoing(RETRIES, retry.id.encode(), retry.model_dump_json().encode())
        for retry in said.retries
    ]
    if said.entry_changed:
        entry = None if said.entry is None else said.entry.model_dump_json().encode()
        records.append(Outgoing(SUPPRESSIONS, key, entry))
    return records
