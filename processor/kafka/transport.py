"""A Kafka transport for Faust that delivers chunks: one event per fetch of a partition.

Stock Faust spends 100 to 200 µs of Python on every record. Here `message.value` is the `Chunk` of
records that one fetch of one partition brought, and `message.offset` the offset of the last;
everything else of Faust stays as it is.

What may be committed is decided here too, and not by Faust's list of acked offsets, which steps
over holes: each partition has its delivered chunks in order, and the frontier moves past a chunk
only when it and all before it are acked. An ack of a chunk from before a rebalance finds nothing
to move, and its records are read again.
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

#: The longest that a fetch waits for records, in milliseconds. One fetch asks for the partitions of
#: which nothing is waiting, and there is one at a time: a record just behind a fetch of idle
#: partitions waits for all of it. With Faust's 1500 the p99 of the latency was 1.8 s at 2,000
#: events/s, with 50 it was 0.4 s; less only makes the broker answer more empty fetches.
MAX_FETCH_WAIT_MS: Final = 100
#: Bytes before which a fetch does not end sooner. A chunk costs the worker a millisecond, however
#: few records it has: at 2,000 events/s it took 71 % of a core when a fetch ended with the first
#: record, and takes 10 % with those of a tenth of a second together.
MIN_FETCH_BYTES: Final = 262_144

#: Seconds between two looks at the group's errors.
GROUP_CHECK_INTERVAL_SECONDS: Final = 1.0
#: Seconds that the last commit may take.
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
        #: Offsets that are to be committed once more.
        self._again: dict[TP, int] = {}

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
            # Of one that was paused meanwhile too, what was read: it is read once only.
            if not chunk or not (active is None or tp in active or tp in self._paused_partitions):
                continue
            end = self.highwater(tp)
            self.app.monitor.track_tp_end_offset(tp, end)
            self._delivered[tp].append(chunk[-1].offset)
            yield tp, self._to_chunk(tp, chunk, end or 0)

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a stream that has enough makes us wait, and that is all there is to do.

        Faust would ask for no records of this partition until the stream has room, and meanwhile
        wait for those of others, up to a second, whatever has come of this one: 81,000 events/s of
        a backlog, and 103,000 without. All partitions share their agent's queue anyway.
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
        again = self._again.pop(tp, None)
        return again if frontier is None else frontier + 1

    @override
    async def _commit_offsets(
        self, offsets: Mapping[TP, int], start_new_transaction: bool = True
    ) -> bool:
        """Commit; what was not committed, because the broker was away, say, is due again.

        Faust takes it for committed and never tries again, unless more comes.
        """
        before = {tp: self._committed_offset[tp] for tp in offsets}
        committed: bool = await super()._commit_offsets(offsets, start_new_transaction)
        if not committed:
            self._committed_offset.update(before)
            self._again.update(offsets)
        return committed

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: between the last offsets of two chunks there is always a gap."""

    async def on_stop(self) -> None:
        """Commit what is acked, for the last time; of a thread that is gone do not wait for ever.

        Faust does, if the worker crashed while a commit was on its way: it never exits then, and
        nobody starts it again. What is not committed is read again.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_LAST_COMMIT_SECONDS):
                await super().on_stop()

    async def perform_seek(self) -> None:
        """Seek back to what is committed, and forget what was delivered beyond it."""
        self._forget([*self._delivered, *self._again])
        self._committed_offset.clear()  # Faust keeps what it once believed of a partition
        await super().perform_seek()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the chunks of revoked partitions: their next owner reads them again."""
        self._forget(revoked)
        await super().on_partitions_revoked(revoked)

    def _forget(self, partitions: Any) -> None:
        for tp in list(partitions):
            self._delivered.pop(tp, None)
            self._again.pop(tp, None)
            self._acked_index.pop(tp, None)
            self._acked.pop(tp, None)


class Transport(driver.Transport):
    """Faust's aiokafka transport with the consumer above; named `chunks` as an entry point."""

    Consumer = Consumer
