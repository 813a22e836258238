"""What is remembered of addresses with trouble, kept in a compacted topic and in memory.

A worker has the states of the partitions of `delivery.policy` that it is assigned, and reads them
back from the same partitions of `delivery.policy-state` when it gets them. Each is kept as its
JSON, compressed (to a third, in 4 µs of 11 kB), and read when it is needed: of 100,000 addresses
only a few are at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush
from time import monotonic
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from cramjam import lz4

from processor import metrics
from processor.kafka.batch_producer import Outgoing
from processor.kafka.topics import STATES
from processor.logging import get
from processor.policy.state import State, dump, load
from schemas.addresses import Address
from schemas.events import milliseconds

log = get(__name__)

#: Says in a record's headers when time next changes something of the state, in ms since 1970.
_WAKES: Final = "wakes-at"
_FETCH: Final = 20_000
#: So many notes of when an address woke, once, are no matter.
_STALE: Final = 10_000

#: A state's key, its JSON (None: forgotten), and when it wakes.
Kept: TypeAlias = tuple[str, bytes | None, int | None]


@dataclass(slots=True, eq=False)
class Partition:
    """The states of one partition, and which of them wakes next."""

    number: int
    _values: dict[str, bytes] = field(default_factory=dict)
    _wakes: list[tuple[int, str]] = field(default_factory=list)
    _wake_of: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, whose: Address) -> State:
        """Return what is remembered of an address."""
        value = self._values.get(whose.key)
        return State() if value is None else load(bytes(lz4.decompress_block(value)))

    def record(self, whose: Address, state: State, wakes_at: datetime | None) -> Outgoing:
        """Return the record that keeps a state; a tombstone if nothing is left to remember."""
        empty = state.is_empty
        headers = () if empty or wakes_at is None else ((_WAKES, b"%d" % milliseconds(wakes_at)),)
        value = None if empty else dump(state)
        return Outgoing(STATES, whose.key.encode(), value, headers, self.number)

    def keep(self, records: Iterable[Outgoing]) -> None:
        """Remember what has been published."""
        for each in records:
            key, value, wake = _kept(each)
            self._put(key, value, wake)
            if wake is not None:
                heappush(self._wakes, (wake, key))
        if len(self._wakes) > _STALE + 2 * len(self._wake_of):
            self._order()

    def wake(self, whose: Address, at: datetime) -> None:
        """Let an address that time has not changed be due again at a time."""
        self._wake_of[whose.key] = milliseconds(at)
        heappush(self._wakes, (milliseconds(at), whose.key))

    def fill(self, kept: Iterable[Kept]) -> None:
        """Remember what was read back."""
        for key, value, wake in kept:
            self._put(key, value, wake)
        self._order()

    def _order(self) -> None:
        """Note of each address only when it wakes now: an earlier note stays until its time."""
        self._wakes = [(wake, key) for key, wake in self._wake_of.items()]
        heapify(self._wakes)

    def _put(self, key: str, value: bytes | None, wake: int | None) -> None:
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = bytes(lz4.compress_block(value))
        if value is None or wake is None:
            self._wake_of.pop(key, None)
        else:
            self._wake_of[key] = wake

    def wakes_before(self, now: datetime) -> bool:
        """Tell whether an address may be due; perhaps one that has changed since."""
        return bool(self._wakes) and self._wakes[0][0] <= milliseconds(now)

    def due(self, now: datetime, most: int) -> list[Address]:
        """Return addresses of which time has changed something, the first due first."""
        found: dict[str, None] = {}
        until = milliseconds(now)
        while self._wakes and self._wakes[0][0] <= until and len(found) < most:
            wake, key = heappop(self._wakes)
            if self._wake_of.get(key) == wake:  # else it has changed since
                found[key] = None
        return [Address.parse(key) for key in found]


def _kept(record: Any) -> Kept:
    """Read a record of a state, one to publish or one read back."""
    return record.key.decode(), record.value, int(record.headers[0][1]) if record.headers else None


class States:
    """The states of the assigned partitions, read back by `read` when they are first needed."""

    def __init__(self, read: Callable[[int], Awaitable[Iterable[Kept]]]) -> None:
        self._read = read
        self._opening: dict[int, asyncio.Task[Partition]] = {}

    async def opened(self, number: int) -> Partition:
        """Return the states of a partition; return when they are complete."""
        return await asyncio.shield(self._begin(number))

    def assign(self, numbers: Iterable[int]) -> None:
        """Begin to read what is ours now: time passes also for addresses of which nothing comes."""
        for number in numbers:
            self._begin(number)

    def _begin(self, number: int) -> asyncio.Task[Partition]:
        if number not in self._opening:
            self._opening[number] = asyncio.create_task(self._open(number))
        return self._opening[number]

    async def _open(self, number: int) -> Partition:
        started = monotonic()
        partition = Partition(number)
        partition.fill(await self._read(number))
        log.info(
            "states_read", partition=number, addresses=len(partition),
            seconds=round(monotonic() - started, 2),
        )  # fmt: skip
        return partition

    def holds(self, partition: Partition) -> bool:
        """Tell whether a partition is still ours, and has not been taken away meanwhile."""
        return any(each is partition for each in self.open())

    def has(self, number: int) -> bool:
        """Tell whether a partition is ours."""
        return number in self._opening

    def forget(self, numbers: Iterable[int]) -> None:
        """Let go of partitions that are no longer ours."""
        for number in numbers:
            self._opening.pop(number, None)
        self.count()

    def open(self) -> list[Partition]:
        """Return the partitions whose states are complete."""
        return [task.result() for task in self._opening.values() if task.done()]

    def count(self) -> None:
        """Tell the metrics how much is remembered."""
        metrics.STATES.set(sum(map(len, self.open())))


async def read_back(bootstrap: str, number: int) -> list[Kept]:
    """Return what a partition of the topic of states holds, later ones after earlier ones."""
    place = TopicPartition(STATES, number)
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    await reader.start()
    try:
        reader.assign([place])
        end = (await reader.end_offsets([place]))[place]
        await reader.seek_to_beginning(place)
        latest: dict[bytes, Kept] = {}
        while await reader.position(place) < end:
            found = await reader.getmany(place, timeout_ms=1000, max_records=_FETCH)
            for record in found.get(place, ()):
                latest[record.key] = _kept(record)
        return list(latest.values())
    finally:
        await reader.stop()
