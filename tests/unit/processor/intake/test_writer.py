"""The steps of a write, with fakes at both ends: what is acked is written, in order, or dead."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from types import SimpleNamespace

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from processor.intake.dead_letters import DeadLetter, Rejection
from processor.intake.decoder import Decoder
from processor.intake.topic_pauses import TopicPauses
from processor.intake.writer import Intake, JoinOutcome
from processor.settings import IntakeSettings
from projections.clickhouse.client import BadRowsError, FatalError, TransientError
from projections.clickhouse.joining import NOTHING_JOINED
from tests.chunks import chunk_of, ses_bounce


class FakeChunkEvent:
    """What Faust gives: a chunk of records, and an ack."""

    def __init__(self, *values, topic="email.sends", start=0):
        self.acked, self.steps = False, []
        self.value = chunk_of([
            SimpleNamespace(
                topic=topic, partition=0, offset=start + n, timestamp=1_793_500_000_000,
                value=value, headers=(),
            )
            for n, value in enumerate(values)
        ])  # fmt: skip

    def ack(self):
        self.acked = True
        self.steps.append(f"ack {self.value.topic}")
        return True


SES_EVENT = ses_bounce(1, "Invoice")


def send(message_id):
    """Return the value of a record of a mailer."""
    return json.dumps({
        "channel": "email", "kind": "sent", "tenant_id": "t", "message_id": message_id,
        "recipient": "a@example.com", "occurred_at": "2026-11-01T10:00:00Z",
    }).encode()  # fmt: skip


class FakeServices:
    """A database and a broker: they keep what they get, and fail with `failures` first."""

    def __init__(self, *failures, refused_messages=(), refused_values=()):
        self.failures, self.refused_messages = list(failures), set(refused_messages)
        self.refused_values, self.raw_values = set(refused_values), []
        self.message_ids, self.dead_letters, self.published = [], [], []
        #: What was done, in order; which of it fails for good, and which at first.
        self.history, self.steps, self.impossible, self.away = [], [], "", []
        self.pauses, self.largest_record = [], 10**9

    def insert(self, table, rows):
        if self.failures:
            self.steps.append("away")
            raise self.failures.pop(0)
        self.take_step(f"insert {table.name}")
        if table.name == "suppression_history":
            self.history += rows.to_pylist()
            return
        if table.name == "raw_records":
            if self.refused_values & {*rows["value"].to_pylist()}:
                raise BadRowsError("Code: 27. Cannot parse input")
            self.raw_values += rows["value"].to_pylist()
            return
        if table.name == "dead_letters":
            self.dead_letters += [raw.decode() for raw in rows["raw"].to_pylist()]
            return
        message_ids = [name.decode() for name in rows["message_id"].to_pylist()]
        if self.refused_messages & set(message_ids):
            raise BadRowsError("Code: 27. Cannot parse input")
        self.message_ids += message_ids

    def take_step(self, step):
        if step == self.impossible:
            raise FatalError(step)
        if step in self.away:
            self.away.remove(step)
            self.steps.append("away")
            raise TransientError("away")
        self.steps.append(step)

    async def publish(self, records):
        if any(len(record.value) > self.largest_record for record in records):
            raise MessageSizeTooLargeError
        for topic in dict.fromkeys(record.topic for record in records):
            self.take_step(f"publish {topic}")
        self.published += records

    def intake(self, *, policy_partitions=0, **options):
        settings = {"batch_rows": 1000, "write_interval": 0, **options}
        decoder = Decoder(
            IntakeSettings(), max_record_bytes=10_000_000, policy_partitions=policy_partitions,
            resolve=self.resolve,
        )  # fmt: skip
        return Intake(
            decode=decoder.begin, complete=decoder.complete,
            insert=self.insert, join=self.join, publish=self.publish,
            pauses=TopicPauses(after_bad=5, rate=1, pause=self.pause), **settings,
        )  # fmt: skip

    def resolve(self, events):
        self.take_step(f"ask of {len(events)} unmatched")

    def join(self, tables):
        self.take_step(f"join {sum(table.num_rows for table in tables)} events")
        return JoinOutcome([], NOTHING_JOINED.marks)

    def pause(self, topic, paused):
        self.pauses.append((topic, paused))

    def write_together(self, *events):
        """Take chunks, and only then begin to write: all of them at once, with the policy fed."""

        async def take_and_write():
            intake = self.intake(policy_partitions=1)
            for event in events:
                event.steps = self.steps
                await intake.take(event)
            writer = asyncio.create_task(intake.run())
            async with asyncio.timeout(30):
                while not writer.done() and not all(event.acked for event in events):
                    await asyncio.sleep(0.005)
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer

        asyncio.run(take_and_write())

    def run(self, *events, **options):
        """Take chunks and write until all are acked, or until the writer stops."""

        for event in events:
            event.steps = self.steps

        async def take_and_write():
            intake = self.intake(**options)
            writer = asyncio.create_task(intake.run())
            for event in events:
                await intake.take(event)
            async with asyncio.timeout(30):
                while not writer.done() and not all(event.acked for event in events):
                    await asyncio.sleep(0.005)
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer

        asyncio.run(take_and_write())


def test_rows_are_written_and_chunks_acked():
    services = FakeServices()
    events = [FakeChunkEvent(send("a"), send("b")), FakeChunkEvent(send("c"), start=2)]
    services.run(*events)
    assert services.message_ids == ["a", "b", "c"]
    assert all(event.acked for event in events)


#: A decision that suppresses an address: an event, and a row of the history.
DECISION = json.dumps({
    "channel": "email", "kind": "suppressed", "tenant_id": "t", "message_id": "m",
    "recipient": "a@example.com", "occurred_at": "2026-11-01T10:00:00Z", "change": "added",
    "rule": "hard_bounce", "since": "2026-11-01T10:00:00Z", "cause_event_id": "0" * 32,
}).encode()  # fmt: skip
#: Of a write that has all of them; of the two of dead letters either may come first.
STEPS = [
    "ask of 1 unmatched", "insert dead_letters", "publish delivery.dead-letters", "insert events",
    "join 2 events", "insert suppression_history", "publish delivery.policy",
]  # fmt: skip


def write_of_all_steps(services):
    """Write a bad record, a decision and a bounce at once; return their chunks."""
    events = [
        FakeChunkEvent(b"rubbish", DECISION, topic="delivery.decisions"),
        FakeChunkEvent(SES_EVENT, topic="email.events.ses"),
    ]
    services.write_together(*events)
    return events


def test_a_write_takes_its_steps_in_their_order_and_the_acks_come_last():
    services = FakeServices()
    write_of_all_steps(services)
    assert sorted(services.steps[:3]) == STEPS[:3]
    acks = ["ack delivery.decisions", "ack email.events.ses"]
    assert services.steps[3:] == STEPS[3:] + acks
    assert services.message_ids == ["m", "ses-1"]
    assert [row["address"] for row in services.history] == [b"a@example.com"]


def test_a_write_asks_once_of_which_messages_the_unmatched_events_of_all_its_chunks_are():
    services = FakeServices()
    events = [
        FakeChunkEvent(ses_bounce(1, "a"), topic="email.events.ses", start=number)
        for number in range(3)
    ]
    services.write_together(*events, FakeChunkEvent(send("a")))
    assert [step for step in services.steps if step.startswith("ask")] == ["ask of 3 unmatched"]
    assert len(services.message_ids) == 4


@pytest.mark.parametrize("place", range(1, len(STEPS)))
def test_what_a_step_cannot_do_is_not_acked_and_no_later_step_is_taken(place):
    services = FakeServices()
    services.impossible = STEPS[place]
    with pytest.raises(FatalError):
        write_of_all_steps(services)
    assert not {"ack delivery.decisions", "ack email.events.ses"} & set(services.steps)
    assert not set(STEPS[max(place + 1, 3) :]) & set(services.steps)


@pytest.mark.parametrize("table", ["dead_letters", "events", "suppression_history"])
def test_while_the_database_is_away_nothing_is_acked_whichever_table_waits(table):
    services = FakeServices()
    services.away = [f"insert {table}"] * 2
    write_of_all_steps(services)
    before = services.steps[: services.steps.index(f"insert {table}")]
    assert before.count("away") == 2
    assert not [step for step in before if step.startswith("ack")]
    assert len(services.steps) == len(STEPS) + 4


def test_a_pause_between_small_writes_ends_when_there_is_much_to_write():
    services = FakeServices()
    events = [FakeChunkEvent(send("a")), FakeChunkEvent(send("b"), send("c"), start=1)]
    services.run(*events, write_interval=1_000_000, batch_rows=4)
    assert services.message_ids == ["a", "b", "c"]


def test_a_bad_record_is_published_and_stored_before_its_chunk_is_acked():
    services, event = FakeServices(), FakeChunkEvent(send("a"), b"rubbish")
    services.run(event)
    assert services.message_ids == ["a"]
    assert services.dead_letters == ["rubbish"]
    [record] = services.published
    assert dict(record.headers)["sendlog-dead-offset"] == b"1"
    assert sorted(services.steps[:2]) == STEPS[1:3]
    assert services.steps[2:] == ["insert events", "join 1 events", "ack email.sends"]


def test_raw_records_are_inserted_before_their_events_if_they_are_kept():
    services, event = FakeServices(), FakeChunkEvent(send("a"), b"rubbish", send("b"))
    services.run(event, keep_raw=True)
    assert services.steps[2:] == [
        "insert raw_records", "insert events", "join 2 events", "ack email.sends",
    ]  # fmt: skip
    assert services.raw_values == [send("a"), send("b")]


def test_without_the_setting_no_raw_record_is_inserted():
    services = FakeServices()
    services.run(FakeChunkEvent(send("a")), keep_raw=False)
    assert services.steps == ["insert events", "join 1 events", "ack email.sends"]


def test_raw_records_that_the_database_refuses_keep_no_event_back_and_are_counted():
    values = [send(name) for name in "abc"]
    services, event = FakeServices(refused_values=values[1:2]), FakeChunkEvent(*values)
    before = REGISTRY.get_sample_value("sendlog_refused_raw_records_total")
    with capture_logs() as logs:
        services.run(event, keep_raw=True)
    assert services.message_ids == ["a", "b", "c"]
    assert services.raw_values == [values[0], values[2]]
    assert services.dead_letters == []
    assert event.acked
    assert REGISTRY.get_sample_value("sendlog_refused_raw_records_total") == before + 1
    [line] = [line for line in logs if line["event"] == "raw_records_refused"]
    assert (line["count"], line["records"]) == (1, 3)
    assert "example.com" not in str(line)


def test_while_the_database_is_away_for_raw_records_no_event_is_inserted():
    services = FakeServices()
    services.away = ["insert raw_records"] * 2
    services.run(FakeChunkEvent(send("a")), keep_raw=True)
    assert services.steps == [
        "away", "away", "insert raw_records", "insert events", "join 1 events", "ack email.sends",
    ]  # fmt: skip


def test_an_outage_is_waited_out_and_nothing_is_acked_meanwhile():
    services = FakeServices(TransientError("away"), TransientError("away"))
    event = FakeChunkEvent(send("a"))
    services.run(event)
    assert services.message_ids == ["a"]
    assert services.steps == ["away", "away", "insert events", "join 1 events", "ack email.sends"]


def test_an_outage_is_logged_once_whatever_waits_for_its_end():
    services = FakeServices(*[TransientError("away")] * 3)

    async def two_writes():
        intake = services.intake()
        chunk = FakeChunkEvent(b"rubbish").value
        dead_letter = DeadLetter.of(chunk, Rejection(chunk.records[0], "bad"))
        await asyncio.gather(intake.dead_letter([dead_letter]), intake.dead_letter([dead_letter]))

    with capture_logs() as lines:
        asyncio.run(two_writes())
    names = [line["event"] for line in lines if line["event"].startswith("clickhouse")]
    assert names == ["clickhouse_away", "clickhouse_back"]
    assert services.dead_letters == ["rubbish"] * 2


def test_a_refused_row_becomes_a_dead_letter_with_its_record_and_the_others_are_written():
    services = FakeServices(refused_messages={"bad"})
    event = FakeChunkEvent(send("a"), send("bad"), send("c"), send("d"))
    services.run(event)
    assert sorted(services.message_ids) == ["a", "c", "d"]
    [record] = services.published
    assert dict(record.headers)["sendlog-dead-offset"] == b"1"
    assert (record.topic, record.value) == ("delivery.dead-letters", send("bad"))
    reason = b"ClickHouse refuses the row: Code: 27. Cannot parse input"
    assert dict(record.headers)["sendlog-dead-reason"] == reason
    assert event.acked


def test_a_missing_table_stops_the_writer_with_nothing_acked():
    services, event = FakeServices(FatalError("no such table")), FakeChunkEvent(send("a"))
    with pytest.raises(FatalError, match="no such table"):
        services.run(event)
    assert not event.acked


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop that jumps ahead in time."""

    jump = 0.0

    def time(self):
        return super().time() + self.jump


def run_in_jumping_loop(work):
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(work)


def is_paused_by_gauge(topic):
    return bool(REGISTRY.get_sample_value("sendlog_paused_topics", {"topic": topic}))


FEED = "email.events.ses"


def test_a_topic_of_nothing_but_bad_records_is_paused_alone_and_goes_on_by_itself():
    services = FakeServices()
    junk = [FakeChunkEvent(*[b"x"] * 5, topic=FEED, start=n) for n in (0, 5)]

    async def take_junk_and_wait():
        intake = services.intake()
        writer = asyncio.create_task(intake.run())
        for event in (*junk, good := FakeChunkEvent(send("a"))):
            await intake.take(event)
        assert services.pauses == [(FEED, True)] * 2  # 10 s, at a record a second
        while not good.acked:
            await asyncio.sleep(0)
        asyncio.get_running_loop().jump = 9.0
        await asyncio.sleep(0.01)
        assert services.pauses[-1] == (FEED, True)
        asyncio.get_running_loop().jump = 11.0
        while services.pauses[-1] != (FEED, False):
            await asyncio.sleep(0)
        assert is_paused_by_gauge(FEED)
        await intake.take(FakeChunkEvent(SES_EVENT, topic=FEED, start=10))
        writer.cancel()

    with capture_logs() as lines:
        run_in_jumping_loop(take_junk_and_wait())
    assert services.message_ids[0] == "a"
    assert all(event.acked for event in junk)
    assert services.dead_letters == ["x"] * 10
    names = [line["event"] for line in lines if line["event"].startswith("topic")]
    assert names == ["topic_paused", "topic_resumed"]
    assert not is_paused_by_gauge(FEED)


def test_a_topic_that_is_quiet_after_its_bad_records_is_read_as_usual_again():
    services = FakeServices()

    async def take_junk_and_wait():
        intake = services.intake()
        await intake.take(FakeChunkEvent(*[b"x"] * 5, topic=FEED))
        for jump in (100.0, 200.0):  # the pause, and the quiet
            assert is_paused_by_gauge(FEED)
            asyncio.get_running_loop().jump = jump
            await asyncio.sleep(0.01)
        assert not is_paused_by_gauge(FEED)
        await intake.take(FakeChunkEvent(*[b"x"] * 4, topic=FEED, start=5))
        assert services.pauses[-1] == (FEED, False)

    run_in_jumping_loop(take_junk_and_wait())


def test_dead_letters_that_their_topic_does_not_take_are_there_as_pointers():
    services, event = FakeServices(), FakeChunkEvent(b"small", b"x" * 5_000, send("a"))
    services.largest_record = 1_000
    services.run(event)
    assert services.dead_letters == ["small", "x" * 5_000]
    assert [record.value for record in services.published] == [b"small", b""]
    headers = dict(services.published[-1].headers)
    assert headers["sendlog-dead-offset"] == b"1"
    assert headers["sendlog-dead-truncated-from"] == b"5000"
    assert b"Invalid JSON" in headers["sendlog-dead-reason"]
    assert event.acked


def test_dead_letters_are_in_their_table_while_their_topic_is_away():
    services = FakeServices()

    async def dead_letter():
        never = asyncio.Event()
        services.publish = lambda _records: never.wait()
        intake = services.intake()
        chunk = FakeChunkEvent(b"rubbish").value
        letter = DeadLetter.of(chunk, Rejection(chunk.records[0], "bad"))
        waiting = asyncio.create_task(intake.dead_letter([letter]))
        while not services.dead_letters:
            await asyncio.sleep(0.001)
        assert not waiting.done()
        waiting.cancel()

    asyncio.run(dead_letter())
    assert services.dead_letters == ["rubbish"]


def test_what_waits_is_weighed_by_the_bytes_it_became(monkeypatch):
    services = FakeServices()
    event = FakeChunkEvent(
        ses_bounce(recipients=200, subject="s" * 1_000), topic="email.events.ses"
    )
    monkeypatch.setattr("processor.intake.writer.MAX_WAITING_BYTES", 200_000)

    async def is_full_after_taking():
        intake = services.intake()
        taking = asyncio.create_task(intake.take(event))
        while not intake._waiting:
            await asyncio.sleep(0)
        taking.cancel()
        assert intake._waiting[0].decoded.row_count == 200
        return not intake._has_room()

    assert len(event.value.records[0].value) < 50_000
    assert asyncio.run(is_full_after_taking())


def test_one_good_record_shows_that_the_topic_is_not_broken():
    services = FakeServices()
    services.run(*(FakeChunkEvent(*[b"rubbish"] * 4, send("a")) for _ in range(3)))
    assert len(services.dead_letters) == 12


def test_a_feed_that_nobody_can_read_does_not_stop_the_others():
    services = FakeServices()
    services.run(FakeChunkEvent(*[b"x"] * 50, topic="email.events.acme"), FakeChunkEvent(send("a")))
    assert len(services.dead_letters) == 50
    assert services.message_ids == ["a"]


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([b'{"Type": "SubscriptionConfirmation", "Message": ""}'] * 12, {"batch_rows": 10}),
        ([b'{"Type": "SubscriptionConfirmation", "Message": "' + b"x" * 200 + b'"}'], {}),
    ],
)
def test_records_that_give_no_rows_take_room_too(values, options, monkeypatch):
    max_bytes = 200 if len(values) == 1 else 10**9
    monkeypatch.setattr("processor.intake.writer.MAX_WAITING_BYTES", max_bytes)

    async def is_full_after_taking():
        services = FakeServices()
        intake = services.intake(**options)
        taking = asyncio.create_task(intake.take(FakeChunkEvent(*values, topic="email.events.ses")))
        while not intake._waiting:
            await asyncio.sleep(0)
        full = not intake._has_room()
        writer = asyncio.create_task(intake.run())
        await taking  # there is room again once the writer has taken it
        writer.cancel()
        return full

    assert asyncio.run(is_full_after_taking())
