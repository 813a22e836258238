"""The states of addresses, kept in a compacted topic and in memory.

A worker has the states of the partitions of `delivery.policy` that it is assigned, and reads them
back from the same partitions of `delivery.policy-state` when it gets them. Each is kept as its
JSON, compressed to a third, and read when it is needed: of 100,000 addresses only a few are at any
moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush
from time import monotonic
from typing import Any, Final, TypeAlias

from aiokafka import TopicPartition
from cramjam import lz4

from processor import metrics
from processor.kafka.batch_producer import OutgoingRecord
from processor.kafka.consumers import async_consumer
from processor.kafka.topics import POLICY_STATE_TOPIC
from processor.logging import get
from processor.policy.state import AddressState, dump_state, load_state
from schemas.addresses import Address
from schemas.events import milliseconds

log = get(__name__)

#: The header that says when time next changes something of the state, in ms since 1970.
WAKES_AT_HEADER: Final = "wakes-at"
MAX_FETCH_RECORDS: Final = 20_000
#: Stale heap entries tolerated before the heap is rebuilt.
MAX_STALE_WAKES: Final = 10_000

#: A state's key, its JSON (None: pruned), and when it wakes, in ms since 1970.
StoredState: TypeAlias = tuple[str, bytes | None, int | None]


@dataclass(slots=True, eq=False)
class PartitionStates:
    """The states of one partition, and which of them wakes next."""

    number: int
    _values: dict[str, bytes] = field(default_factory=dict)
    #: A heap of (when, key); an entry holds only if `_wake_of` agrees.
    _wakes: list[tuple[int, str]] = field(default_factory=list)
    _wake_of: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, address: Address) -> AddressState:
        """Return the state of an address."""
        value = self._values.get(address.key)
        return AddressState() if value is None else load_state(bytes(lz4.decompress_block(value)))

    def to_record(
        self, address: Address, state: AddressState, wakes_at: datetime | None
    ) -> OutgoingRecord:
        """Return the record that keeps a state; a tombstone if nothing is left to keep."""
        key = address.key.encode()
        if state.is_empty:
            return OutgoingRecord(POLICY_STATE_TOPIC, key, None, (), self.number)
        headers: tuple[tuple[str, bytes], ...] = ()
        if wakes_at is not None:
            headers = ((WAKES_AT_HEADER, b"%d" % milliseconds(wakes_at)),)
        return OutgoingRecord(POLICY_STATE_TOPIC, key, dump_state(state), headers, self.number)

    def keep(self, records: Iterable[OutgoingRecord]) -> None:
        """Keep what has been published."""
        for record in records:
            key, value, wake = _stored(record)
            self._put(key, value, wake)
            if wake is not None:
                heappush(self._wakes, (wake, key))
        if len(self._wakes) > MAX_STALE_WAKES + 2 * len(self._wake_of):
            self._rebuild_heap()

    def wake(self, address: Address, at: datetime) -> None:
        """Let an address that time has not changed be due again at a time."""
        self._wake_of[address.key] = milliseconds(at)
        heappush(self._wakes, (milliseconds(at), address.key))

    def fill(self, states: Iterable[StoredState]) -> None:
        """Keep what was read back."""
        for key, value, wake in states:
            self._put(key, value, wake)
        self._rebuild_heap()

    def _rebuild_heap(self) -> None:
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

    def take_due(self, now: datetime, limit: int) -> list[Address]:
        """Return addresses that wake by now, the first due first, and take them off the heap."""
        keys: dict[str, None] = {}
        until = milliseconds(now)
        while self._wakes and self._wakes[0][0] <= until and len(keys) < limit:
            wake, key = heappop(self._wakes)
            if self._wake_of.get(key) == wake:  # else it has changed since
                keys[key] = None
        return [Address.parse(key) for key in keys]


def _stored(record: Any) -> StoredState:
    """Read a record of a state, one to publish or one read back."""
    return record.key.decode(), record.value, int(record.headers[0][1]) if record.headers else None


class StateStore:
    """The states of the assigned partitions, read back by `read` when they are first needed."""

    def __init__(self, read: Callable[[int], Awaitable[Iterable[StoredState]]]) -> None:
        self._read = read
        self._loading: dict[int, asyncio.Task[PartitionStates]] = {}

    async def loaded(self, number: int) -> PartitionStates:
        """Return the states of a partition, once they are complete."""
        return await asyncio.shield(self._load(number))

    def assign(self, numbers: Iterable[int]) -> None:
        """Begin to read what is ours now: time passes also for addresses of which nothing comes."""
        for number in numbers:
            self._load(number)

    def revoke(self, numbers: Iterable[int]) -> None:
        """Let go of partitions that are no longer ours."""
        for number in numbers:
            self._loading.pop(number, None)
        self.count()

    def owns(self, number: int) -> bool:
        """Tell whether a partition is ours."""
        return number in self._loading

    def owns_same(self, partition: PartitionStates) -> bool:
        """Tell whether a partition is still ours, and was not revoked meanwhile."""
        return any(each is partition for each in self.ready())

    def ready(self) -> list[PartitionStates]:
        """Return the partitions whose states are complete."""
        return [task.result() for task in self._loading.values() if task.done()]

    def count(self) -> None:
        """Tell the metrics how many states there are."""
        metrics.ADDRESS_STATES.set(sum(map(len, self.ready())))

    def _load(self, number: int) -> asyncio.Task[PartitionStates]:
        if number not in self._loading:
            self._loading[number] = asyncio.create_task(self._read_partition(number))
        return self._loading[number]

    async def _read_partition(self, number: int) -> PartitionStates:
        started = monotonic()
        partition = PartitionStates(number)
        partition.fill(await self._read(number))
        log.info(
            "states_read", partition=number, addresses=len(partition),
            seconds=round(monotonic() - started, 2),
        )  # fmt: skip
        return partition


async def read_partition_states(bootstrap: str, number: int) -> list[StoredState]:
    """Return what a partition of the topic of states holds, later ones after earlier ones."""
    place = TopicPartition(POLICY_STATE_TOPIC, number)
    consumer = async_consumer(
        bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=8 * 1024 * 1024
    )
    await consumer.start()
    try:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        await consumer.seek_to_beginning(place)
        latest: dict[bytes, StoredState] = {}
        while await consumer.position(place) < end:
            fetched = await consumer.getmany(place, timeout_ms=1000, max_records=MAX_FETCH_RECORDS)
            for record in fetched.get(place, ()):
                latest[record.key] = _stored(record)
        return list(latest.values())
    finally:
        await consumer.stop()
