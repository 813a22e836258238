"""A Kafka transport for Faust that delivers chunks: one event per fetch of a partition.

Stock Faust runs a lot of Python for every record. Here `message.value` is the `Chunk` of records
that one fetch of one partition brought, and `message.offset` is the offset of the last one. All
else in Faust stays unchanged.

This module also decides what may be committed, because Faust's list of acked offsets skips holes.
Each partition has its delivered chunks in order, and the frontier moves past a chunk only when that
chunk and all before it are acked. An ack of a chunk from before a rebalance has no effect, and its
records are read again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final

from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service
from typing_extensions import override

from processor.kafka.patches import handle_group_error, set_fetch
from processor.kafka.records import Chunk

#: The longest that a fetch waits for records. A fetch is for all partitions that have nothing
#: waiting, and there is one at a time, so a record that arrives just after it waits until it ends.
#: Faust's default is far too long (E-032); a shorter wait only makes more empty fetches.
MAX_FETCH_WAIT_MS: Final = 100
#: A fetch ends early only with this many bytes: a chunk has a fixed cost, however few records it
#: has, so records of a tenth of a second are fetched together (E-035).
MIN_FETCH_BYTES: Final = 262_144
#: Between two checks for an error of the consumer group.
GROUP_CHECK_INTERVAL_SECONDS: Final = 1.0
#: For the last commit, when the worker stops.
MAX_LAST_COMMIT_SECONDS: Final = 10.0


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        set_fetch(consumer, max_wait_ms=MAX_FETCH_WAIT_MS, min_bytes=MIN_FETCH_BYTES)
        return consumer

    async def handle_group_error(self) -> None:
        """Go on after an error of the group; see `patches.handle_group_error`."""
        await self.call_thread(self._handle_group_error)

    async def _handle_group_error(self) -> None:
        if self._consumer is not None:  # else not yet, or no longer
            handle_group_error(self._consumer)


class Consumer(driver.Consumer):
    """Faust's aiokafka consumer, delivering chunks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Per partition, the last offset of each delivered chunk that is not yet committable.
        self._delivered: defaultdict[TP, deque[int]] = defaultdict(deque)
        #: Offsets whose commit failed, to be committed again.
        self._uncommitted: dict[TP, int] = {}

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    @Service.task
    async def _watch_group(self) -> None:
        while not self.should_stop:
            await self.sleep(GROUP_CHECK_INTERVAL_SECONDS)
            await self._thread.handle_group_error()

    async def getmany(  # the signature is Faust's
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield one message per partition and fetch."""
        records, active = await self._wait_next_records(timeout)
        if not records or self.should_stop:
            return
        if not self.flow_active:
            # The fetch crossed a rebalance: what it brought is read again from the commit.
            await self.perform_seek()
            return
        generation = self.app.consumer_generation_id
        for tp, chunk in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            # Also of a partition that was paused meanwhile: its records are not fetched again.
            if not chunk or not (active is None or tp in active or tp in self._paused_partitions):
                continue
            end = self.highwater(tp)
            self.app.monitor.track_tp_end_offset(tp, end)
            self._delivered[tp].append(chunk[-1].offset)
            yield tp, self._to_chunk(tp, chunk, end or 0)

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a stream that is full makes the consumer wait anyway.

        Faust would stop fetching this partition until the stream has room, and meanwhile wait up to
        a second for records of others, which slows down a backlog (E-061). The partitions of an
        agent share its queue, so that gains nothing.
        """

    def _to_chunk(self, tp: TP, chunk: list[Any], end: int) -> ConsumerMessage:
        last = chunk[-1]
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=last.offset,
            timestamp=(last.timestamp or 0) / 1000.0,
            timestamp_type=last.timestamp_type,
            headers=None,
            key=None,
            value=Chunk(tp.topic, tp.partition, chunk, max(0, end - last.offset - 1)),
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset up to which all chunks of a partition are acked, if that has moved."""
        acked, delivered, frontier = self._acked_index[tp], self._delivered[tp], None
        while delivered and delivered[0] in acked:
            frontier = delivered.popleft()
            acked.discard(frontier)
        self._acked[tp].clear()
        uncommitted = self._uncommitted.pop(tp, None)
        return uncommitted if frontier is None else frontier + 1

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
        self._forget([*self._delivered, *self._uncommitted])
        self._committed_offset.clear()  # Faust would go on with its old values
        await super().perform_seek()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the chunks of revoked partitions: their next owner reads them again."""
        self._forget(revoked)
        await super().on_partitions_revoked(revoked)

    def _forget(self, partitions: Any) -> None:
        for tp in list(partitions):
            self._delivered.pop(tp, None)
            self._uncommitted.pop(tp, None)
            self._acked_index.pop(tp, None)
            self._acked.pop(tp, None)


class Transport(driver.Transport):
    """Faust's aiokafka transport with the consumer above; named `chunks` as an entry point."""

    Consumer = Consumer
