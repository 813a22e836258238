"""Intake: chunks of records in, rows in ClickHouse, then the ack. Nothing is acked before.

The steps of one write: (1) decode each chunk as it arrives; (2) take all that is waiting;
(3) publish its dead letters and wait for the broker to have them; (4) insert dead letters and
events, the folds being made by the engine in the same insert; (5) publish what the rules for
retries and the blacklist are fed, which by then the log knows; (6) ack the chunks, in order. A
crash between any two of them repeats the write, which the fold absorbs. While a write is under way
the next chunks are decoded, up to a limit, and the last two steps of the write before are taken;
then the agent stops pulling.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any, Protocol

import pyarrow as pa

from processor import metrics
from processor.clickhouse import patiently
from processor.intake import dead_letters, suppression_history
from processor.intake.decoder import (
    Batch,
    DeadLetter,
    Decoder,
    dead_letter,
    dead_letter_rows,
)
from processor.kafka.batch_producer import Publish
from processor.kafka.records import Chunk
from processor.kafka.topics import has_adapter
from processor.logging import get
from projections.clickhouse import store
from projections.clickhouse.client import BadRowsError, TransientError
from projections.tables import Table
from projections.tables.dead_letters import TABLE as DEAD_LETTERS
from projections.tables.events import TABLE as EVENTS
from projections.tables.suppression_history import TABLE as HISTORY

log = get(__name__)

#: Bytes of records that may wait for a write: during an outage they are all that grows.
_MOST_BYTES = 256 * 1024 * 1024
#: For so many seconds it counts what a chunk said of what is left.
_RECENT = 10.0
#: Seconds between two looks at that.
_LOOKS = 0.1

Insert = Callable[[Table, pa.Table], None]


class Event(Protocol):
    """What is used of a Faust event: its chunk, and the ack."""

    value: Any

    def ack(self) -> bool:
        """Mark the chunk as done."""
        ...


class TooManyBadRecordsError(RuntimeError):
    """Nearly everything is bad: the cause is not in the records, and they must not be used up."""


@dataclass(slots=True)
class _Waiting:
    event: Event
    batch: Batch
    size: int  # in bytes, counted once


class Intake:
    """Takes chunks and writes them; `insert` runs on a thread and may block."""

    def __init__(
        self,
        *,
        decode: Decoder,
        insert: Insert,
        publish: Publish,
        batch_rows: int,
        write_interval: float,
        stop_after_bad: int,
    ) -> None:
        self._decode = decode
        self._insert = insert
        self._publish = publish
        self._batch_rows = batch_rows
        self._write_interval = write_interval
        self._stop_after_bad = stop_after_bad
        self._bad_in_a_row: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []
        #: How much was left in Kafka of each partition, and when its last chunk said so.
        self._left: dict[tuple[str, int], tuple[float, int]] = {}
        #: The writes that wait for the database, and since when there are any.
        self._waits: set[object] = set()
        self._away_since = 0.0
        self._changed = asyncio.Condition()
        self._written: asyncio.Queue[list[_Waiting]] = asyncio.Queue(maxsize=1)

    async def take(self, event: Event) -> None:
        """Decode a chunk and leave it to the writer; return when there is room for the next.

        Raises `TooManyBadRecordsError`: the worker has to stop, with nothing of it committed.
        """
        chunk: Chunk = event.value
        self._left[chunk.topic, chunk.partition] = monotonic(), chunk.left
        batch = await asyncio.to_thread(self._decode, chunk)
        self._watch(chunk.topic, batch)
        metrics.RECORDS.labels(topic=chunk.topic).inc(len(chunk.records))
        async with self._changed:
            self._waiting.append(_Waiting(event, batch, batch.size))
            self._changed.notify_all()
            await self._changed.wait_for(self._has_room)

    def _has_room(self) -> bool:
        return self._rows() < self._batch_rows and (
            sum(each.size for each in self._waiting) < _MOST_BYTES
        )

    def _has_many(self) -> bool:
        return self._rows() >= self._batch_rows // 2

    def _rows(self) -> int:
        return sum(each.batch.weight for each in self._waiting)

    def _watch(self, topic: str, batch: Batch) -> None:
        if not batch.is_bad:
            self._bad_in_a_row[topic] = 0
            return
        if has_adapter(topic):  # without one, every record is dead by definition
            self._bad_in_a_row[topic] += len({letter.offset for letter in batch.dead})
        if self._bad_in_a_row[topic] >= self._stop_after_bad:
            raise TooManyBadRecordsError(
                f"the last {self._bad_in_a_row[topic]:,} records of {topic} were all bad, at last: "
                f"{batch.dead[-1].reason}; the last of them are not committed. Mend it, or raise "
                "SENDLOG_INTAKE__STOP_AFTER_BAD to let them become dead letters"
            )

    async def run(self) -> None:
        """Write what is waiting, over and over. Raises `FatalError` if nothing can be written."""
        await asyncio.gather(self._write_all(), self._finish_all())

    async def _write_all(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._waiting))
                taken, self._waiting = self._waiting, []
                self._changed.notify_all()
            started = monotonic()
            await self._write([each.batch for each in taken])
            await self._written.put(taken)
            # Small writes are spaced, or the engine would drown in small parts.
            with suppress(TimeoutError):
                async with asyncio.timeout(started + self._write_interval - monotonic()):
                    async with self._changed:
                        await self._changed.wait_for(self._has_many)

    async def _finish_all(self) -> None:
        """Tell the rules of what is written, and ack it, while the next is being written."""
        while True:
            taken = await self._written.get()
            batches = [each.batch for each in taken]
            if history := [line for batch in batches for line in batch.history]:
                await self._patiently(HISTORY, suppression_history.rows(history))
            if fed := [record for batch in batches for record in batch.fed]:
                await self._publish(fed)
            for each in taken:
                each.event.ack()

    async def keeps_up(self, patience: float) -> None:
        """Return when no more than a write is left in Kafka, or after so many seconds.

        Decisions give way to facts while there is a backlog, but never for long.
        """
        for _ in range(round(patience / _LOOKS)):
            if not self._behind():
                return
            await asyncio.sleep(_LOOKS)

    def _behind(self) -> bool:
        recent = monotonic() - _RECENT  # what was said of a partition that is no longer ours
        return sum(n for at, n in self._left.values() if at > recent) > self._batch_rows

    async def _write(self, batches: Sequence[Batch]) -> None:
        events = pa.concat_tables([batch.events for batch in batches])
        dead = [letter for batch in batches for letter in batch.dead]
        if dead:
            await self.bury(dead)
        if events.num_rows:
            await self._write_events(events, batches)

    async def _write_events(self, events: pa.Table, batches: Sequence[Batch]) -> None:
        started = monotonic()
        try:
            await self._patiently(EVENTS, events)
        except BadRowsError:
            await self._isolate(events, batches)
        metrics.EVENTS.inc(events.num_rows)
        metrics.WRITE_SECONDS.observe(monotonic() - started)
        metrics.WRITE_ROWS.observe(events.num_rows)

    async def bury(self, dead: Sequence[DeadLetter]) -> None:
        """Publish and write dead letters; return when broker and database have them."""
        await self._publish([dead_letters.to_record(letter) for letter in dead])
        await self._patiently(DEAD_LETTERS, dead_letter_rows(dead, datetime.now(UTC)))
        for letter in dead:
            metrics.DEAD_LETTERS.labels(topic=letter.topic).inc()
        log.warning("dead_letters", count=len(dead), topic=dead[-1].topic, reason=dead[-1].reason)

    async def _isolate(self, events: pa.Table, batches: Sequence[Batch]) -> None:
        """Write a refused batch in halves; the rows refused on their own become dead letters."""
        loop = asyncio.get_running_loop()

        def write(rows: pa.Table) -> None:
            asyncio.run_coroutine_threadsafe(self._patiently(EVENTS, rows), loop).result()

        refused = await asyncio.to_thread(store.isolate, events, write)
        records = [each for batch in batches for each in batch.records_of_events()]
        await self.bury(
            [dead_letter(*records[at], f"ClickHouse refuses the row: {why}") for at, why in refused]
        )

    async def _patiently(self, table: Table, rows: pa.Table) -> None:
        """Insert; while the database is away, wait. Raises the other errors."""
        insert = partial(self._insert, table, rows)
        write = object()
        try:
            await patiently(insert, partial(self._away, write, table.name))
        except Exception:  # an answer, too
            self._back(write)
            raise
        self._back(write)

    def _away(self, write: object, table: str, error: TransientError) -> None:
        """Say that the database is away, once for all writes that wait for it."""
        if not self._waits:
            self._away_since = monotonic()
            log.warning("clickhouse_away", error=str(error), table=table)
            metrics.WAITING.set(1)
        self._waits.add(write)

    def _back(self, write: object) -> None:
        """Say that it is back, when the last of them waits no more."""
        if write in self._waits:
            self._waits.discard(write)
            if not self._waits:
                metrics.WAITING.set(0)
                log.info("clickhouse_back", seconds=round(monotonic() - self._away_since, 1))
