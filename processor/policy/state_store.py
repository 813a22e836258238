"""The states of addresses, kept in a compacted topic and in memory.

A worker has the states of the partitions of `delivery.policy` that it is assigned, and reads them
back from the same partitions of `delivery.policy-state` when it gets them. Each is kept as its
JSON, compressed to a third, and read when it is needed: of 100,000 addresses only a few are at any
moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush
from math import inf
from time import monotonic, time
from typing import Any, Final, Protocol, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from cramjam import lz4

from processor import metrics
from processor.intake.policy_feed import partition_of
from processor.kafka.batch_producer import OutgoingRecord
from processor.kafka.connection import started
from processor.kafka.consumers import MAX_FETCH_RECORDS, async_consumer
from processor.kafka.fenced_producer import FencedProducer, TransactionLostError
from processor.kafka.topics import POLICY_STATE_TOPIC, POLICY_TOPIC
from processor.logging import get
from processor.policy.state import AddressState, dump_state, load_state
from processor.settings import KafkaSettings
from schemas.addresses import Address
from schemas.errors import ExplainedError
from schemas.events import milliseconds

log = get(__name__)

#: The header that says when time next changes something of the state, in ms since 1970.
WAKES_AT_HEADER: Final = "wakes-at"
#: The key of a record that keeps nothing.
CLOCK_KEY: Final = b"clock"
#: Between two attempts to read states while the broker is away.
MIN_BACKOFF_SECONDS: Final = 0.5
MAX_BACKOFF_SECONDS: Final = 10.0
#: For the transactions that are under way, when the worker stops.
MAX_CLOSE_SECONDS: Final = 10.0
#: A worker that was paused learns within its heartbeat's interval that it has lost a partition;
#: meanwhile it must not take it over again.
TAKEOVER_WAIT_SECONDS: Final = 5.0
#: Stale heap entries tolerated before the heap is rebuilt.
MAX_STALE_WAKES: Final = 10_000

#: A state's key, its JSON (None: pruned), and when it wakes, in ms since 1970.
StoredState: TypeAlias = tuple[str, bytes | None, int | None]


class Publisher(Protocol):
    """Publishes for one partition, as the only one that can."""

    async def publish(self, records: Sequence[OutgoingRecord]) -> datetime | None:
        """Publish all records or none; return the broker's time, if it says it.

        Raises `TransactionLostError`.
        """
        ...

    async def close(self) -> None:
        """Let go, after what is under way."""
        ...


class MisplacedStateError(ExplainedError):
    """A state is in another partition than its address; the text says what to do."""


@dataclass(slots=True, eq=False)
class PartitionStates:
    """The states of one partition, and which of them wakes next."""

    number: int
    publisher: Publisher
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

    def clock_record(self) -> OutgoingRecord:
        """Return a record that keeps nothing: with its ack the broker says what time it is."""
        return OutgoingRecord(POLICY_STATE_TOPIC, CLOCK_KEY, None, (), self.number)

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

    @property
    def waking_count(self) -> int:
        """How many addresses time will change."""
        return len(self._wake_of)

    def first_wake_ms(self) -> float:
        """Return when the first address is due, in ms since 1970; infinity if none ever is."""
        while self._wakes and self._wake_of.get(self._wakes[0][1]) != self._wakes[0][0]:
            heappop(self._wakes)  # it has changed since
        return self._wakes[0][0] if self._wakes else inf

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
    """The states of the assigned partitions.

    For each it takes over the publishing, and then reads the states back: what it reads is all that
    there will ever be, but for what it publishes itself.
    """

    def __init__(
        self,
        take_over: Callable[[int], Awaitable[Publisher]],
        read: Callable[[int], Awaitable[Iterable[StoredState]]],
        observe_clock: Callable[[datetime], None] = lambda _: None,
    ) -> None:
        self._take_over = take_over
        self._read = read
        self._observe_clock = observe_clock
        self._loading: dict[int, asyncio.Task[PartitionStates]] = {}
        #: Publishers that are let go of.
        self._closing: set[asyncio.Task[None]] = set()

    async def loaded(self, number: int) -> PartitionStates:
        """Return the states of an assigned partition, once they are complete."""
        return await asyncio.shield(self._loading[number])

    def assign(self, numbers: Iterable[int]) -> None:
        """Begin to read what is ours now: time passes also for addresses of which nothing comes."""
        for number in numbers:
            if number not in self._loading:
                self._loading[number] = asyncio.create_task(self._load(number, 0))

    def revoke(self, numbers: Iterable[int]) -> None:
        """Let go of partitions that are no longer ours."""
        for number in numbers:
            if task := self._loading.pop(number, None):
                self._let_go(task)
        self.count()

    def reload(self, partition: PartitionStates) -> None:
        """Take over a partition again, for its publisher is lost, unless it is not ours any more.

        Not at once: if another worker has it, we are told soon.
        """
        if self.owns_same(partition):
            self._let_go(self._loading[partition.number])
            loading = self._load(partition.number, TAKEOVER_WAIT_SECONDS)
            self._loading[partition.number] = asyncio.create_task(loading)

    async def close(self) -> None:
        """Let go of all partitions; while the broker is away, not for ever."""
        self.revoke(list(self._loading))
        if self._closing:
            await asyncio.wait(self._closing, timeout=MAX_CLOSE_SECONDS)

    def owns(self, number: int) -> bool:
        """Tell whether a partition is ours."""
        return number in self._loading

    def owns_same(self, partition: PartitionStates) -> bool:
        """Tell whether a partition is still ours, and was not revoked meanwhile."""
        return any(each is partition for each in self.ready())

    def ready(self) -> list[PartitionStates]:
        """Return the partitions whose states are complete. Raises `MisplacedStateError`."""
        return [task.result() for task in self._loading.values() if task.done()]

    def reading(self) -> list[int]:
        """Return the assigned partitions whose states are still being read."""
        return sorted(number for number, task in self._loading.items() if not task.done())

    def count(self) -> None:
        """Tell the metrics how many states there are, and how late the first of them is."""
        ready = self.ready()
        metrics.ADDRESS_STATES.set(sum(map(len, ready)))
        metrics.WAKING_ADDRESSES.set(sum(each.waking_count for each in ready))
        metrics.POLICY_PARTITIONS.labels(state="known").set(len(ready))
        metrics.POLICY_PARTITIONS.labels(state="reading").set(len(self._loading) - len(ready))
        first = min((each.first_wake_ms() for each in ready), default=inf)
        metrics.OVERDUE_SECONDS.set(max(0.0, time() - first / 1000))

    def _let_go(self, task: asyncio.Task[PartitionStates]) -> None:
        task.cancel()  # if it is still reading
        closing = asyncio.create_task(_close_publisher(task))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _load(self, number: int, wait_seconds: float) -> PartitionStates:
        """Take over a partition and read its states, over and over until the broker answers."""
        while True:
            await asyncio.sleep(wait_seconds)
            try:
                return await self._load_once(number)
            except (KafkaError, OSError, TransactionLostError) as error:
                reason = str(error) or type(error).__name__
                log.warning("states_not_read", partition=number, error=reason)
            wait_seconds = min(max(2 * wait_seconds, MIN_BACKOFF_SECONDS), MAX_BACKOFF_SECONDS)

    async def _load_once(self, number: int) -> PartitionStates:
        started = monotonic()
        partition = PartitionStates(number, await self._take_over(number))
        try:
            if broker_time := await partition.publisher.publish([partition.clock_record()]):
                self._observe_clock(broker_time)
            partition.fill(await self._read(number))
        except BaseException:  # also where it was revoked meanwhile
            await partition.publisher.close()
            raise
        log.info(
            "states_read", partition=number, addresses=len(partition),
            seconds=round(monotonic() - started, 2),
        )  # fmt: skip
        return partition


async def _close_publisher(task: asyncio.Task[PartitionStates]) -> None:
    with suppress(asyncio.CancelledError, MisplacedStateError):
        await (await task).publisher.close()


def transactional_id(group: str, number: int) -> str:
    """Return the id of the transactions of a partition: whoever uses it last is the only one."""
    return f"{group}-policy-{number}"


async def take_over_partition(kafka: KafkaSettings, number: int) -> Publisher:
    """Take over the publishing for a partition. Raises `KafkaError` if no broker answers."""
    return await FencedProducer.open(kafka, transactional_id(kafka.group, number))


async def read_partition_states(
    kafka: KafkaSettings, number: int, partitions: int
) -> list[StoredState]:
    """Return what a partition, of so many, of the topic of states holds.

    Raises `MisplacedStateError` if an address of it belongs to another, and `KafkaError`.
    """
    place = TopicPartition(POLICY_STATE_TOPIC, number)
    consumer = await started(
        async_consumer(
            kafka, auto_offset_reset="earliest", max_partition_fetch_bytes=8 * 1024 * 1024
        )
    )
    try:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        await consumer.seek_to_beginning(place)
        latest: dict[bytes, StoredState] = {}
        while await consumer.position(place) < end:
            fetched = await consumer.getmany(place, timeout_ms=1000, max_records=MAX_FETCH_RECORDS)
            for record in fetched.get(place, ()):
                latest[record.key] = _stored(record)
    finally:
        await consumer.stop()
    check_places(latest.values(), number, partitions)
    return list(latest.values())


def check_places(states: Iterable[StoredState], number: int, partitions: int) -> None:
    """Raise `MisplacedStateError` if an address belongs to another partition than this one."""
    misplaced = sum(
        value is not None and partition_of(Address.parse(key), partitions) != number
        for key, value, _ in states
    )
    if misplaced:
        raise MisplacedStateError(
            f"{misplaced:,} addresses of {POLICY_STATE_TOPIC}/{number} belong to other partitions: "
            f"it has {partitions} now, and had not when they were written. Stop the workers, and "
            f"run sendlog topics grow {POLICY_TOPIC} {partitions}"
        )
