"""The steps of a write, with fakes at both ends: what is acked is written, in order, or dead."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from processor.intake.decoder import Decoder, dead_letter
from processor.intake.writer import Intake, TooManyBadRecordsError
from processor.settings import Intake as IntakeSettings
from projections.clickhouse.client import BadRowsError, FatalError, TransientError
from tests.chunks import chunk_of


class Chunk:
    """What Faust gives: a list of records, and an ack."""

    def __init__(self, *values, topic="email.sends", start=0):
        self.acked = False
        self.value = chunk_of([
            SimpleNamespace(
                topic=topic, partition=0, offset=start + n, timestamp=1_793_500_000_000,
                value=value, headers=(),
            )
            for n, value in enumerate(values)
        ])  # fmt: skip

    def ack(self):
        self.acked = True
        return True


def fact(message_id):
    return json.dumps({
        "channel": "email", "kind": "sent", "tenant_id": "t", "message_id": message_id,
        "recipient": "a@example.com", "occurred_at": "2026-11-01T10:00:00Z",
    }).encode()  # fmt: skip


class World:
    """A database and a broker that note what they are given, and fail as they are told."""

    def __init__(self, *failures, refuses=()):
        self.failures, self.refuses = list(failures), set(refuses)
        self.rows, self.buried, self.published = [], [], []

    def insert(self, table, rows):
        if self.failures:
            raise self.failures.pop(0)
        if table.name == "dead_letters":
            self.buried += [raw.decode() for raw in rows["raw"].to_pylist()]
            return
        ids = [name.decode() for name in rows["message_id"].to_pylist()]
        if self.refuses & set(ids):
            raise BadRowsError("Code: 27. Cannot parse input")
        self.rows += ids

    async def publish(self, letters):
        self.published += letters

    def intake(self, **options):
        settings = {"batch_rows": 1000, "write_interval": 0, "stop_after_bad": 5, **options}
        return Intake(
            decode=Decoder(IntakeSettings(), max_record_bytes=10_000),
            insert=self.insert, publish=self.publish, **settings,
        )  # fmt: skip

    def run(self, *chunks, **options):
        """Take the chunks and write until all are acked, or until the writer stops."""

        async def whole():
            intake = self.intake(**options)
            writer = asyncio.create_task(intake.run())
            for chunk in chunks:
                await intake.take(chunk)
            while not writer.done() and not all(chunk.acked for chunk in chunks):
                await asyncio.sleep(0.005)
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer

        asyncio.run(whole())


def test_rows_are_written_and_chunks_acked():
    world, chunks = World(), [Chunk(fact("a"), fact("b")), Chunk(fact("c"), start=2)]
    world.run(*chunks)
    assert world.rows == ["a", "b", "c"]
    assert all(chunk.acked for chunk in chunks)


def test_a_pause_between_small_writes_ends_when_there_is_much_to_write():
    world, chunks = World(), [Chunk(fact("a")), Chunk(fact("b"), fact("c"), start=1)]
    world.run(*chunks, write_interval=1_000_000, batch_rows=4)
    assert world.rows == ["a", "b", "c"]


def test_a_bad_record_is_published_and_stored_before_its_chunk_is_acked():
    world, chunk = World(), Chunk(fact("a"), b"rubbish")
    world.run(chunk)
    assert world.rows == ["a"]
    assert world.buried == ["rubbish"]
    assert [dict(letter.headers)["sendlog-dead-offset"] for letter in world.published] == [b"1"]
    assert chunk.acked


def test_an_outage_is_waited_out_and_nothing_is_acked_meanwhile():
    world, chunk = World(TransientError("away"), TransientError("away")), Chunk(fact("a"))
    world.run(chunk)
    assert world.rows == ["a"]
    assert chunk.acked


def test_an_outage_is_told_once_whatever_waits_for_its_end():
    world = World(*[TransientError("away")] * 3)

    async def two_writes():
        intake = world.intake()
        chunk = Chunk(b"rubbish").value
        letter = dead_letter(chunk, chunk.records[0], "bad")
        await asyncio.gather(intake.bury([letter]), intake.bury([letter]))

    with capture_logs() as said:
        asyncio.run(two_writes())
    told = [each["event"] for each in said if each["event"].startswith("clickhouse")]
    assert told == ["clickhouse_away", "clickhouse_back"]
    assert world.buried == ["rubbish"] * 2


def test_a_refused_row_becomes_a_dead_letter_with_its_record_and_the_others_are_written():
    world = World(refuses={"bad"})
    chunk = Chunk(fact("a"), fact("bad"), fact("c"), fact("d"))
    world.run(chunk)
    assert sorted(world.rows) == ["a", "c", "d"]
    [letter] = world.published
    assert dict(letter.headers)["sendlog-dead-offset"] == b"1"
    assert (letter.topic, letter.value) == ("delivery.dead-letters", fact("bad"))
    reason = b"ClickHouse refuses the row: Code: 27. Cannot parse input"
    assert dict(letter.headers)["sendlog-dead-reason"] == reason
    assert chunk.acked


def test_a_missing_table_stops_the_writer_with_nothing_acked():
    world, chunk = World(FatalError("no such table")), Chunk(fact("a"))
    with pytest.raises(FatalError, match="no such table"):
        world.run(chunk)
    assert not chunk.acked


def test_nothing_but_bad_records_stops_the_intake():
    with pytest.raises(TooManyBadRecordsError, match="SENDLOG_INTAKE__STOP_AFTER_BAD"):
        World().run(Chunk(*[b"rubbish"] * 5))


def test_one_good_record_shows_that_the_topic_is_not_broken():
    world = World()
    world.run(*(Chunk(*[b"rubbish"] * 4, fact("a")) for _ in range(3)))
    assert len(world.buried) == 12


def test_a_feed_that_nobody_can_read_does_not_stop_the_others():
    world = World()
    world.run(Chunk(*[b"x"] * 50, topic="email.events.acme"), Chunk(fact("a")))
    assert len(world.buried) == 50
    assert world.rows == ["a"]


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([b'{"Type": "SubscriptionConfirmation", "Message": ""}'] * 12, {"batch_rows": 10}),
        ([b'{"Type": "SubscriptionConfirmation", "Message": "' + b"x" * 200 + b'"}'], {}),
    ],
)
def test_records_that_give_no_rows_take_room_too(values, options, monkeypatch):
    monkeypatch.setattr("processor.intake.writer._MOST_BYTES", 200 if len(values) == 1 else 10**9)

    async def whole():
        world = World()
        intake = world.intake(**options)
        taking = asyncio.create_task(intake.take(Chunk(*values, topic="email.events.ses")))
        while not intake._waiting:
            await asyncio.sleep(0)
        full = not intake._has_room()
        writer = asyncio.create_task(intake.run())
        await taking  # there is room again once the writer has taken it
        writer.cancel()
        return full

    assert asyncio.run(whole())
