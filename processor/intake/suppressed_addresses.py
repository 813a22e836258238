"""The addresses that are or were suppressed: a filter that picks the sends the policy has to see.

False positives are allowed: whether an address was suppressed at the time of a send, the policy
decides. So an address that was reset stays in while the worker runs, and a day longer, as long as
the topic has its tombstone.

The filter is a moment late: a send that was read before, perhaps by another worker, or while
decisions waited for a backlog, is looked up once in the log, as soon as the log has all that Kafka
had when this worker heard of the suppression.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from processor.kafka.connection import started
from processor.kafka.consumers import MAX_FETCH_RECORDS, async_consumer
from processor.kafka.topics import SUPPRESSIONS_TOPIC
from processor.logging import get
from processor.settings import KafkaSettings
from projections.clickhouse.client import FatalError, TransientError
from schemas.addresses import Address, is_pseudonym
from schemas.decisions import Suppression
from schemas.events import milliseconds

log = get(__name__)

POLL_INTERVAL_SECONDS: Final = 1.0
RETRY_INTERVAL_SECONDS: Final = 5.0
#: How far back a worker that starts looks for entries whose sends nobody may have looked up.
START_WINDOW: Final = timedelta(days=1)
#: Every worker knows an entry so soon after this one does, or it is far behind anyway.
PROPAGATION_DELAY: Final = timedelta(seconds=5)
#: Addresses whose sends are looked up at once.
MAX_LOOKUP_ADDRESSES: Final = 1_000


class EntryRecord(Protocol):
    """What is used of a record of `delivery.suppressions`; without a value it is a tombstone."""

    key: bytes
    value: bytes | None
    timestamp: int


class PendingLookup(NamedTuple):
    """That sends to an address are to be looked up: since when, and when we heard of it, in ms."""

    since_ms: int
    received_ms: int


#: Returns the sends to each address since a time; blocks.
FetchSends = Callable[[Mapping[Address, datetime]], list[dict[str, Any]]]


class SuppressedAddresses:
    """A set of addresses, kept as their hashes.

    `is_current` is set once all that is suppressed is in it: no send may be judged before.
    """

    def __init__(self) -> None:
        self._hashes: set[int] = set()
        self.is_current = asyncio.Event()

    def add(self, address: Address) -> None:
        """Take an address in."""
        self._hashes.add(hash(address))

    def __contains__(self, address: object) -> bool:
        return hash(address) in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)


class SuppressionFollower:
    """Keeps a set of suppressed addresses up to date, and feeds the policy the sends it missed.

    `owns` tells whether this worker decides on an address, `watermark` up to which moment the log
    has all that Kafka had.
    """

    def __init__(
        self,
        *,
        suppressed: SuppressedAddresses,
        fetch_sends: FetchSends,
        feed: Callable[[list[dict[str, Any]]], Awaitable[None]],
        owns: Callable[[Address], bool],
        watermark: Callable[[], Awaitable[datetime]],
        clock: Callable[[], datetime],
    ) -> None:
        self._suppressed = suppressed
        self._fetch_sends = fetch_sends
        self._feed = feed
        self._owns = owns
        self._watermark = watermark
        self._clock = clock
        self._pending: dict[Address, PendingLookup] = {}

    async def run(self, kafka: KafkaSettings) -> None:
        """Follow the topic, and look up sends that were missed, for ever."""
        await asyncio.gather(self._follow_loop(kafka), self._lookup_loop())

    def take(self, records: Iterable[EntryRecord]) -> None:
        """Take entries that were published; those read at the start only if they are recent.

        What is heard of later is always looked up, however old it is: it was written late.
        """
        now = self._clock()
        is_start = not self._suppressed.is_current.is_set()
        oldest_ms = milliseconds(now - START_WINDOW) if is_start else 0
        for record in records:
            try:
                address = Address.parse(record.key.decode())
            except ValueError:
                log.warning("suppression_unreadable", topic=SUPPRESSIONS_TOPIC)
                continue
            self._suppressed.add(address)
            if record.value is None or record.timestamp < oldest_ms:
                continue
            if is_pseudonym(address.address):
                continue  # what was sent to whom it stands for has been decided on
            try:
                entry = Suppression.model_validate_json(record.value)
            except ValidationError:
                log.warning("suppression_unreadable", topic=SUPPRESSIONS_TOPIC)
                continue
            since = min(reason.since for reason in (entry, *entry.also))
            self._pending[address] = PendingLookup(milliseconds(since), milliseconds(now))

    async def look_up_sends(self) -> None:
        """Look up sends that were missed, of addresses that are ours, and feed them."""
        # Another worker looks up what it owns; perhaps it becomes ours before it is old.
        oldest_ms = milliseconds(self._clock() - START_WINDOW)
        self._pending = {
            address: lookup for address, lookup in self._pending.items()
            if lookup.received_ms > oldest_ms
        }  # fmt: skip
        ours = {address: each for address, each in self._pending.items() if self._owns(address)}
        if not ours:
            return
        until_ms = milliseconds(await self._watermark() - PROPAGATION_DELAY)
        due = {address: each for address, each in ours.items() if each.received_ms <= until_ms}
        due = dict(islice(due.items(), MAX_LOOKUP_ADDRESSES))
        if not due:
            return
        since = {address: _time(each.since_ms) for address, each in due.items()}
        if sends := await asyncio.to_thread(self._fetch_sends, since):
            await self._feed(sends)
        for address, lookup in due.items():
            if self._pending.get(address) == lookup:  # else there is news of it
                del self._pending[address]

    async def _follow_loop(self, kafka: KafkaSettings) -> None:
        while True:
            try:
                await self._follow(kafka)
            except (KafkaError, OSError) as error:
                log.warning("blacklist_not_read", error=str(error) or type(error).__name__)
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)

    async def _follow(self, kafka: KafkaSettings) -> None:
        """Read all that is suppressed now, and go on with what changes. Raises `KafkaError`."""
        consumer = async_consumer(kafka, auto_offset_reset="earliest")
        consumer.subscribe([SUPPRESSIONS_TOPIC])  # in no group: all partitions, also later ones
        await started(consumer)
        try:
            ends = await consumer.end_offsets(consumer.assignment())
            while True:
                if not self._suppressed.is_current.is_set() and await _has_reached(consumer, ends):
                    log.info("blacklist_read", addresses=len(self._suppressed))
                    self._suppressed.is_current.set()
                fetched = await consumer.getmany(timeout_ms=1000, max_records=MAX_FETCH_RECORDS)
                for records in fetched.values():
                    self.take(records)
        finally:
            await consumer.stop()

    async def _lookup_loop(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            try:
                await self.look_up_sends()
            except TransientError:
                pass  # intake waits for the same database, and says so
            except FatalError as error:
                log.warning("sends_not_looked_up", error=str(error))


async def _has_reached(consumer: AIOKafkaConsumer, ends: Mapping[Any, int]) -> bool:
    """Tell whether a consumer has read its partitions up to these offsets."""
    return all([await consumer.position(place) >= end for place, end in ends.items()])


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
