"""Intake: chunks of records in, rows in ClickHouse, then the ack. Nothing is acked before.

The steps of a write:

1. decode each chunk as it arrives;
2. collect all that waits, and ask which messages its unmatched events are of;
3. publish its dead letters, wait for the broker to have them, and insert them;
4. insert its raw records, then its events; the engine makes the folds of the logs in the same
   insert;
5. join events under a provider's id to their messages, as far as edges say now;
6. insert its rows of the suppression history;
7. publish what the policy needs of it, all of which the log knows by then;
8. ack the chunks, in order.

A crash between any two of them repeats the write, which the folds absorb. While one write is in
steps 3 and 4, the next chunks are decoded, up to a limit, and the write before is in steps 5 to 8;
then the agent stops pulling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import pyarrow as pa

from processor import metrics
from processor.clickhouse import retry_while_away
from processor.intake import dead_letters, raw_records, suppression_history
from processor.intake.dead_letters import DeadLetter, Rejection
from processor.intake.decoder import DecodedChunk
from processor.intake.topic_pauses import TopicPauses
from processor.kafka.batch_producer import TOO_LARGE_ERRORS, OutgoingRecord, Publish
from processor.kafka.records import Chunk
from processor.logging import get
from processor.outages import Outage
from projections.clickhouse import store
from projections.clickhouse.client import BadRowsError, TransientError
from projections.tables import Table
from projections.tables.dead_letters import TABLE as DEAD_LETTERS
from projections.tables.events import TABLE as EVENTS
from projections.tables.raw_records import TABLE as RAW_RECORDS
from projections.tables.suppression_history import TABLE as HISTORY
from projections.tables.unmatched import TABLE as UNMATCHED

log = get(__name__)

#: Bytes that may wait for a write, and again that may be in one: during an outage they are all
#: that grows.
MAX_WAITING_BYTES: Final = 128 * 1024 * 1024
#: For so many seconds the lag counts that a chunk came with: its partition may have gone elsewhere.
LAG_LIFETIME_SECONDS: Final = 10.0
LAG_POLL_INTERVAL_SECONDS: Final = 0.1

Result = TypeVar("Result")
#: Decodes a chunk but for its unmatched events; makes rows of those of some chunks.
Decode = Callable[[Chunk], DecodedChunk]
Complete = Callable[[Sequence[DecodedChunk]], None]
#: Joins what can be joined now that events are written.
Join = Callable[[Sequence[pa.Table]], "JoinOutcome"]


class JoinOutcome(NamedTuple):
    """Records that tell the policy of joined events; rows of `unmatched` to insert after that."""

    records: Sequence[OutgoingRecord]
    marks: pa.Table


class ChunkEvent(Protocol):
    """What is used of a Faust event: its chunk, and the ack."""

    value: Any

    def ack(self) -> bool:
        """Mark the chunk as done."""
        ...


@dataclass(slots=True)
class _WaitingChunk:
    event: ChunkEvent
    decoded: DecodedChunk
    byte_count: int  # counted once


class Intake:
    """Takes chunks and writes them; what is passed in runs on threads and may block."""

    def __init__(
        self,
        *,
        decode: Decode,
        complete: Complete,
        insert: store.Insert,
        join: Join,
        publish: Publish,
        batch_rows: int,
        write_interval: float,
        pauses: TopicPauses,
        keep_raw: bool = False,
    ) -> None:
        self._decode = decode
        self._complete = complete
        self._keep_raw = keep_raw
        self._insert = insert
        self._join = join
        self._publish = publish
        self._batch_rows = batch_rows
        self._write_interval = write_interval
        self._pauses = pauses
        self._waiting: list[_WaitingChunk] = []
        #: The lag that the last chunk of each partition came with, and when.
        self._lags: dict[tuple[str, int], tuple[float, int]] = {}
        self._outage = Outage("clickhouse", metrics.WAITING_FOR_CLICKHOUSE)
        #: Chunks that are taken and not acked, and when one last came further.
        self._unacked_count = 0
        self._moved_at = monotonic()
        self._changed = asyncio.Condition()
        self._written: asyncio.Queue[list[_WaitingChunk]] = asyncio.Queue(maxsize=1)

    async def take(self, event: ChunkEvent) -> None:
        """Decode a chunk (step 1) and leave it to the writer; return when there is room."""
        chunk = event.value
        self._lags[chunk.topic, chunk.partition] = monotonic(), chunk.lag
        decoded = await self._step1_decode(event)
        self._unacked_count += 1
        if self._unacked_count == 1:
            self._moved_at = monotonic()
        async with self._changed:
            self._waiting.append(_WaitingChunk(event, decoded, decoded.byte_count))
            self._changed.notify_all()
            await self._changed.wait_for(self._has_room)

    @property
    def is_waiting_for_clickhouse(self) -> bool:
        """Whether a write failed, and is tried again."""
        return self._outage.is_on

    def seconds_without_progress(self) -> float:
        """Return for how long no step of a write has ended though there are chunks; else 0.

        A step that fails and is tried again has ended, too.
        """
        return monotonic() - self._moved_at if self._unacked_count else 0.0

    async def run(self) -> None:
        """Write what waits, over and over. Raises `FatalError` if nothing can be written."""
        await asyncio.gather(self._write_loop(), self._ack_loop())

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Publish and insert dead letters; return when broker and database have them.

        The database has them also while the topic is away.
        """
        rows = dead_letters.to_rows(letters, datetime.now(UTC))
        await asyncio.gather(
            self._publish_dead_letters(letters), self._insert_or_wait(DEAD_LETTERS, rows)
        )
        for letter in letters:
            metrics.DEAD_LETTERS_TOTAL.labels(topic=letter.topic).inc()
        last = letters[-1]
        log.warning("dead_letters", count=len(letters), topic=last.topic, reason=last.reason)

    async def _publish_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Publish dead letters; of those that the topic does not take, where they are."""
        try:
            await self._publish([dead_letters.to_record(letter) for letter in letters])
        except TOO_LARGE_ERRORS:
            if len(letters) == 1:
                await self._publish([dead_letters.to_pointer(letters[0])])
                return
            for letter in letters:
                await self._publish_dead_letters([letter])

    async def wait_until_caught_up(self, seconds: float) -> None:
        """Return when the lag is no more than a write, or after so many seconds.

        Decisions yield to events while there is a backlog, but never for long.
        """
        for _ in range(round(seconds / LAG_POLL_INTERVAL_SECONDS)):
            if self._lag() <= self._batch_rows:
                return
            await asyncio.sleep(LAG_POLL_INTERVAL_SECONDS)

    def _lag(self) -> int:
        oldest = monotonic() - LAG_LIFETIME_SECONDS
        return sum(lag for at, lag in self._lags.values() if at > oldest)

    async def _write_loop(self) -> None:
        """Take steps 2 to 4 of a write, then hand it over for the others."""
        while True:
            chunks = await self._step2_collect()
            started = monotonic()
            await self._step3_dead_letters(chunks)
            await self._step4_events(chunks)
            await self._written.put(chunks)
            # Small writes are spaced, or the engine would drown in small parts.
            with suppress(TimeoutError):
                async with asyncio.timeout(started + self._write_interval - monotonic()):
                    async with self._changed:
                        await self._changed.wait_for(self._has_many)

    async def _ack_loop(self) -> None:
        """Take steps 5 to 8 of a write, while the next is being written."""
        while True:
            chunks = await self._written.get()
            joined = await self._step5_join(chunks)
            await self._step6_history(chunks)
            await self._step7_policy_feed(chunks, joined)
            self._step8_ack(chunks)

    async def _step1_decode(self, event: ChunkEvent) -> DecodedChunk:
        decoded = await asyncio.to_thread(self._decode, event.value)
        self._pauses.count(decoded)
        metrics.RECORDS_TOTAL.labels(topic=decoded.chunk.topic).inc(len(decoded.chunk.records))
        return decoded

    async def _step2_collect(self) -> list[_WaitingChunk]:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._waiting))
            chunks, self._waiting = self._waiting, []
            self._changed.notify_all()
        if any(each.decoded.unmatched for each in chunks):
            await asyncio.to_thread(self._complete, [each.decoded for each in chunks])
        return chunks

    async def _step3_dead_letters(self, chunks: Sequence[_WaitingChunk]) -> None:
        letters = [
            DeadLetter.of(each.decoded.chunk, rejection)
            for each in chunks for rejection in each.decoded.rejections
        ]  # fmt: skip
        if letters:
            await self.dead_letter(letters)

    async def _step4_events(self, chunks: Sequence[_WaitingChunk]) -> None:
        events = pa.concat_tables([each.decoded.events for each in chunks])
        if not events.num_rows:
            return
        started = monotonic()
        if self._keep_raw:
            await self._insert_raw(chunks)
        try:
            await self._insert_or_wait(EVENTS, events)
        except BadRowsError:
            await self._isolate_bad_rows(events, chunks)
        metrics.EVENTS_TOTAL.inc(events.num_rows)
        metrics.WRITE_SECONDS.observe(monotonic() - started)
        metrics.WRITE_ROWS.observe(events.num_rows)
        metrics.LAST_WRITE.set_to_current_time()

    async def _step5_join(self, chunks: Sequence[_WaitingChunk]) -> JoinOutcome:
        tables = [each.decoded.events for each in chunks]
        return await self._work_or_wait(partial(self._join, tables), EVENTS)

    async def _step6_history(self, chunks: Sequence[_WaitingChunk]) -> None:
        if rows := list(chain.from_iterable(each.decoded.history for each in chunks)):
            await self._insert_or_wait(HISTORY, suppression_history.to_table(rows))

    async def _step7_policy_feed(
        self, chunks: Sequence[_WaitingChunk], joined: JoinOutcome
    ) -> None:
        fed = (each.decoded.policy_records for each in chunks)
        if records := [*chain.from_iterable(fed), *joined.records]:
            await self._publish(records)
        if joined.marks.num_rows:
            await self._insert_or_wait(UNMATCHED, joined.marks)

    def _step8_ack(self, chunks: Sequence[_WaitingChunk]) -> None:
        for each in chunks:
            each.event.ack()
        self._unacked_count -= len(chunks)
        self._moved_at = monotonic()

    def _has_room(self) -> bool:
        waiting_bytes = sum(each.byte_count for each in self._waiting)
        return self._waiting_rows() < self._batch_rows and waiting_bytes < MAX_WAITING_BYTES

    def _has_many(self) -> bool:
        return self._waiting_rows() >= self._batch_rows // 2

    def _waiting_rows(self) -> int:
        return sum(each.decoded.row_count for each in self._waiting)

    async def _insert_raw(self, chunks: Sequence[_WaitingChunk]) -> None:
        """Insert what the events were made of. What is refused of it keeps no event back."""
        decoded = [each.decoded for each in chunks]
        rows = await asyncio.to_thread(raw_records.to_rows, decoded)
        try:
            await self._insert_or_wait(RAW_RECORDS, rows)
        except BadRowsError:
            refused = await self._insert_in_halves(RAW_RECORDS, rows)
            metrics.REFUSED_RAW_RECORDS_TOTAL.inc(len(refused))
            log.warning("raw_records_refused", count=len(refused), records=rows.num_rows)

    async def _isolate_bad_rows(self, events: pa.Table, chunks: Sequence[_WaitingChunk]) -> None:
        """Insert refused events in halves; the rows refused on their own become dead letters."""
        refused = await self._insert_in_halves(EVENTS, events)
        records = [
            (each.decoded.chunk, record)
            for each in chunks for record in each.decoded.records_of_events()
        ]  # fmt: skip
        letters = []
        for row, reason in refused:
            chunk, record = records[row]
            rejection = Rejection(record, f"ClickHouse refuses the row: {reason}")
            letters.append(DeadLetter.of(chunk, rejection))
        await self.dead_letter(letters)

    async def _insert_in_halves(self, table: Table, rows: pa.Table) -> list[tuple[int, str]]:
        """Insert refused rows in halves; return those refused on their own, and why."""
        loop = asyncio.get_running_loop()

        def write(part: pa.Table) -> None:
            inserting = self._insert_or_wait(table, part)
            asyncio.run_coroutine_threadsafe(inserting, loop).result()

        return await asyncio.to_thread(store.isolate_bad_rows, rows, write)

    async def _insert_or_wait(self, table: Table, rows: pa.Table) -> None:
        """Insert; while the database is away, wait. Raises its other errors."""
        await self._work_or_wait(partial(self._insert, table, rows), table)

    async def _work_or_wait(self, work: Callable[[], Result], table: Table) -> Result:
        key = object()

        def wait(error: TransientError) -> None:
            self._moved_at = monotonic()
            metrics.WRITE_RETRIES_TOTAL.labels(table=table.name).inc()
            self._outage.begin(key, error=str(error), table=table.name)

        try:
            return await retry_while_away(work, wait)
        finally:  # an error is an answer, too
            self._moved_at = monotonic()
            self._outage.end(key)
