"""A Kafka transport for Faust that delivers chunks: one event per fetch of a partition.

Stock Faust runs a lot of Python for every record. Here `message.value` is the `Chunk` of records
that one fetch of one partition brought, and `message.offset` is the offset of the last one. All
else in Faust stays unchanged.

This module also decides what may be committed, because Faust's list of acked offsets skips holes.
Each partition has its delivered chunks in order, and the frontier moves past a chunk only when that
chunk and all before it are acked. An ack of a chunk from before a rebalance has no effect, and its
records are read again.

A chunk ends at the consumer's position, which is not always behind its last record: the markers of
transactions, aborted records and those that compaction removed have offsets, too. Without them the
end of such a partition would never be committed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType
from typing import Any, Final

from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service
from typing_extensions import override

from processor import metrics
from processor.kafka.lag import Undone
from processor.kafka.patches import (
    UNKNOWN_END,
    PartitionProgress,
    configure_consumer,
    handle_group_error,
    is_outside_group,
    seek_to_committed,
    take_progress,
)
from processor.kafka.private_names import ReliedOn
from processor.kafka.records import Chunk, plausible_ms
from processor.logging import get

log = get(__name__)

#: The longest that a fetch waits for records. A fetch is for all partitions that have nothing
#: waiting, and there is one at a time, so a record that arrives just after it waits until it ends.
#: Faust's default is far too long (E-032); a shorter wait only makes more empty fetches.
MAX_FETCH_WAIT_MS: Final = 100
#: A fetch ends early only with this many bytes: a chunk has a fixed cost, however few records it
#: has, so records of a tenth of a second are fetched together (E-035).
MIN_FETCH_BYTES: Final = 262_144
#: Between two checks for an error of the consumer group.
GROUP_CHECK_INTERVAL_SECONDS: Final = 1.0
#: A worker that is outside its group for longer, though the broker answers, ends and is started
#: again. A rebalance that waits for another worker takes a minute at most.
MAX_OUTSIDE_GROUP_SECONDS: Final = 180.0
#: For the last commit, when the worker stops.
MAX_LAST_COMMIT_SECONDS: Final = 10.0


_BEGINNING: Final = Undone(0)
NO_PROGRESS: Final[Mapping[TP, PartitionProgress]] = MappingProxyType({})
#: What is overridden, called or read of Faust beyond its documentation.
RELIED_ON: Final[ReliedOn] = {
    driver.AIOKafkaConsumerThread: (
        "_create_worker_consumer", "_fetch_records", "_consumer", "call_thread",
        "_ensure_consumer", "seek_to_committed", "verify_event_path", "_commit", "assignment",
    ),
    driver.Consumer: (
        "_new_consumer_thread", "_wait_next_records", "_filter_tps_with_pending_acks",
        "_new_offset", "_commit_offsets", "_add_gap", "_committed_offset", "_read_offset",
        "_paused_partitions", "_unacked_messages", "_thread", "ack", "flow_active", "getmany",
        "on_buffer_full", "on_partitions_revoked", "perform_seek",
    ),
    driver.Producer: ("_ensure_producer",),
    Conductor: ("_resubscribe_sleep_lock_seconds", "acks_enabled_for"),
}  # fmt: skip


class GroupLostError(RuntimeError):
    """The worker is no member of its group and does not become one: it has to start anew."""


class _Thread(driver.AIOKafkaConsumerThread):
    #: How far each assigned partition is, as of the last fetch.
    progress: Mapping[TP, PartitionProgress] = NO_PROGRESS

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        configure_consumer(consumer, max_wait_ms=MAX_FETCH_WAIT_MS, min_bytes=MIN_FETCH_BYTES)
        return consumer

    async def _fetch_records(self, consumer: Any, *args: Any, **kwargs: Any) -> Any:
        records = await super()._fetch_records(consumer, *args, **kwargs)
        self.progress = take_progress(consumer)
        return records

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """Seek every partition to where its group is, or to its beginning."""
        committed: Mapping[TP, int | None] = await self.call_thread(
            seek_to_committed, self._ensure_consumer()
        )
        return committed

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit the offsets of what is assigned; return false if nothing of it is.

        A rebalance came in between, or the topics changed: what is not committed is read again.
        Faust would not expect that, and the worker would end.
        """
        if self.assignment().isdisjoint(offsets):
            return False
        committed: bool = await super()._commit(offsets)
        return committed

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Warn of a partition that stands still, unless it has no position at this moment."""
        # Faust does not expect that, and the worker would end.
        with suppress(AssertionError, AttributeError):
            super().verify_event_path(now, tp)

    async def is_outside_group(self) -> bool:
        """Go on after an error of the group; see `handle_group_error` and `is_outside_group`."""
        outside: bool = await self.call_thread(self._is_outside_group)
        return outside

    async def _is_outside_group(self) -> bool:
        if self._consumer is None:  # not yet, or no longer
            return False
        handle_group_error(self._consumer)
        return is_outside_group(self._consumer)


@dataclass(slots=True, eq=False)
class _Delivery:
    """A chunk that was delivered: where it begins and ends, and whether it is acked."""

    end: int
    first: Undone = _BEGINNING
    is_acked: bool = False


class _ChunkMessage(ConsumerMessage):
    """A message that knows its delivery: after a rebalance its ack moves no other."""

    delivery: _Delivery


class Consumer(driver.Consumer):
    """Faust's aiokafka consumer, delivering chunks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Per partition, each delivered chunk that is not yet committable, in order.
        self._delivered: defaultdict[TP, deque[_Delivery]] = defaultdict(deque)
        #: Offsets to commit without an ack: of a commit that failed, or behind offsets without
        #: records.
        self._uncommitted: dict[TP, int] = {}
        self._positions: dict[TP, int] = {}
        #: Per partition, what was its end when it was taken over: nobody has read beyond it.
        self._first_ends: dict[TP, int] = {}
        #: A fetch is of now if no seek was under way as it began, and none has begun since.
        self._seeks_begun = self._seeks_done = 0

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    @Service.task
    async def _watch_group(self) -> None:
        inside_at = monotonic()
        while not self.should_stop:
            await self.sleep(GROUP_CHECK_INTERVAL_SECONDS)
            if not await self._thread.is_outside_group():
                inside_at = monotonic()
            elif monotonic() > inside_at + MAX_OUTSIDE_GROUP_SECONDS:
                raise GroupLostError(
                    f"no member of the consumer group for {MAX_OUTSIDE_GROUP_SECONDS:.0f} s, though"
                    " its broker answers: start the worker again"
                )

    async def getmany(  # the signature is Faust's
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield one message per partition and fetch."""
        done = self._seeks_done
        # Where it was before says nothing of now, if nothing is fetched.
        self._thread.progress = NO_PROGRESS
        records, active = await self._wait_next_records(timeout)
        if self.should_stop:
            return
        if not self.flow_active or done != self._seeks_begun:
            if records:
                # The fetch crossed a rebalance: what it brought is read again from the commit. A
                # rebalance need not stop the flow: one for other topics revokes nothing.
                await self.perform_seek()
            return
        progress, generation = self._thread.progress, self.app.consumer_generation_id
        deliveries = self._follow(progress, records or {})
        for tp, delivery in deliveries.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            # Also of a partition that was paused meanwhile: its records are not fetched again.
            if active is None or tp in active or tp in self._paused_partitions:
                self.app.monitor.track_tp_end_offset(tp, progress[tp].end)
                yield tp, self._to_chunk(tp, records[tp], delivery, progress[tp].end)

    def _follow(
        self, progress: Mapping[TP, PartitionProgress], records: Mapping[TP, Any]
    ) -> dict[TP, _Delivery]:
        """Follow the positions of a fetch; return a delivery for each partition with records.

        Whatever becomes of these, nothing behind them is committed before they are acked.
        """
        deliveries = {}
        self._positions = {tp: each.position for tp, each in progress.items()}
        for tp, (position, end, reset) in progress.items():
            if reset is not None:
                self._reset(tp, *reset)
            if end != UNKNOWN_END:
                self._first_ends.setdefault(tp, end)
            if records.get(tp):
                deliveries[tp] = _Delivery(position, _first_of(records[tp]))
                self._delivered[tp].append(deliveries[tp])
            elif outstanding := self._delivered.get(tp):
                outstanding[-1].end = position
            elif position > (self._committed_offset[tp] or 0):
                self._uncommitted[tp] = position
        return deliveries

    def _reset(self, tp: TP, abandoned: int, position: int) -> None:
        """Log that the broker had the next record no more.

        If the position went back, Faust would drop what is read again, and never commit it.
        """
        lost = max(0, position - abandoned)
        metrics.LOST_RECORDS_TOTAL.labels(topic=tp.topic).inc(lost)
        metrics.OFFSET_RESETS_TOTAL.labels(topic=tp.topic).inc()
        log.error(
            "offset_reset", topic=tp.topic, partition=tp.partition, expected=abandoned,
            first=position, lost=lost,
        )  # fmt: skip
        if position < abandoned:
            self._forget([tp])
            self._committed_offset.pop(tp, None)
            self._read_offset.pop(tp, None)

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a stream that is full makes the consumer wait anyway.

        Faust would stop fetching this partition until the stream has room, and meanwhile wait up to
        a second for records of others, which slows down a backlog (E-061). The partitions of an
        agent share its queue, so that gains nothing.
        """

    def _to_chunk(self, tp: TP, chunk: list[Any], delivery: _Delivery, end: int) -> ConsumerMessage:
        last, is_repeated = chunk[-1], chunk[0].offset < self._first_ends.get(tp, 0)
        message = _ChunkMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=last.offset,
            timestamp=(last.timestamp or 0) / 1000.0,
            timestamp_type=last.timestamp_type,
            headers=None,
            key=None,
            value=Chunk(tp.topic, tp.partition, chunk, max(0, end - delivery.end), is_repeated),
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )
        message.delivery = delivery
        return message

    def ack(self, message: _ChunkMessage) -> bool:
        """Mark a chunk as done; return whether it was not before."""
        if message.acked:
            return False
        message.acked = message.delivery.is_acked = True
        self._unacked_messages.discard(message)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        """Yield the partitions for which there may be something to commit."""
        return (
            tp for tp in {*self._delivered, *self._uncommitted}
            if topics is None or tp in topics or tp.topic in topics
        )  # fmt: skip

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset up to which all chunks of a partition are acked, if that has moved."""
        delivered, frontier = self._delivered[tp], self._uncommitted.pop(tp, None)
        while delivered and delivered[0].is_acked:
            frontier = delivered.popleft().end
        return frontier

    @override
    async def _commit_offsets(
        self, offsets: Mapping[TP, int], start_new_transaction: bool = True
    ) -> bool:
        """Commit; keep offsets whose commit failed, so that they are committed later.

        Faust takes them for committed, and would not try again until more records arrive.
        """
        before = {tp: self._committed_offset[tp] for tp in offsets}
        committed: bool = await super()._commit_offsets(offsets, start_new_transaction)
        if not committed:
            self._committed_offset.update(before)
            self._uncommitted.update(offsets)
        return committed

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: there is always a gap between the last offsets of two chunks."""

    async def on_stop(self) -> None:
        """Commit for the last time what is acked, but give up after a while.

        If the worker crashed during a commit, Faust would wait for it for ever, never exit, and so
        never be restarted. What is not committed is read again.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_LAST_COMMIT_SECONDS):
                await super().on_stop()

    async def perform_seek(self) -> None:
        """Seek back to the committed offsets, and forget what was delivered beyond them."""
        self._seeks_begun += 1
        try:
            self._forget([*self._delivered, *self._uncommitted])
            self._committed_offset.clear()  # Faust would go on with its old values
            await super().perform_seek()
        finally:
            self._seeks_done += 1

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the chunks of revoked partitions: their next owner reads them again."""
        self._forget(revoked)
        await super().on_partitions_revoked(revoked)

    def _forget(self, partitions: Any) -> None:
        for tp in list(partitions):
            self._delivered.pop(tp, None)
            self._uncommitted.pop(tp, None)
            self._positions.pop(tp, None)
            self._first_ends.pop(tp, None)

    def undone(self) -> dict[TP, Undone]:
        """Return the first record that is not done of each partition that is held and read."""
        undone = {tp: Undone(position) for tp, position in self._positions.items()}
        for tp, delivered in self._delivered.items():
            if waiting := next((each for each in delivered if not each.is_acked), None):
                undone[tp] = waiting.first
        return undone


def _first_of(records: Sequence[Any]) -> Undone:
    at_ms = plausible_ms(records[0].timestamp)
    return Undone(records[0].offset, at_ms / 1000, monotonic())


class Transport(driver.Transport):
    """Faust's aiokafka transport with the consumer above; named `chunks` as an entry point."""

    Consumer = Consumer
