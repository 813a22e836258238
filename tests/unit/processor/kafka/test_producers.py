"""What producers make of a broker's answers: what is sent again, raised, or waited for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)
from kafka.errors import KafkaError
from kafka.errors import KafkaTimeoutError as SyncTimeoutError
from structlog.testing import capture_logs

from processor.kafka import producer
from processor.kafka.batch_producer import OutgoingRecord, publish_batch
from processor.kafka.connection import BrokerError
from processor.kafka.fenced_producer import FencedProducer, TransactionLostError
from processor.kafka.producer import SyncProducer, sync_producer
from processor.settings import KafkaSettings

TOPIC = "delivery.policy"
BATCH_RECORDS = 2
AWAY, TIMEOUT = KafkaConnectionError("no route"), KafkaTimeoutError()


class Batch:
    """A batch of Kafka's, that a few records fill."""

    def __init__(self):
        self.values = []

    def append(self, *, value, **_):
        if len(self.values) == BATCH_RECORDS:
            return None
        self.values.append(value)
        return object()


class Broker:
    """A producer of aiokafka whose broker answers to each batch in turn; then it takes all.

    An answer is an error, or the time of the batch in milliseconds.
    """

    def __init__(self, *answers, in_turn=False):
        self.answers, self.in_turn = list(answers), in_turn
        self.sent, self.unknown_for, self.log = [], 0, []

    def _partition(self, _topic, partition, *_):
        return partition or 0

    async def partitions_for(self, _topic):
        if self.unknown_for:
            self.unknown_for -= 1
            raise UnknownTopicOrPartitionError

    def create_batch(self):
        return Batch()

    async def send_batch(self, batch, _topic, *, partition):
        self.sent.append((partition, batch.values))
        answer = self.answers.pop(0) if self.answers else 0
        if self.in_turn and isinstance(answer, Exception):
            raise answer  # of a batch before it, for which this one had to wait

        async def ack():
            if isinstance(answer, Exception):
                raise answer
            return SimpleNamespace(timestamp=answer)

        return ack()

    async def begin_transaction(self):
        self.log.append("begin")

    async def commit_transaction(self):
        self.log.append("commit")

    async def stop(self):
        self.log.append("stop")


@pytest.fixture
def pauses(monkeypatch):
    """How long is waited, without the wait."""
    seconds, sleep = [], asyncio.sleep

    async def pass_by(delay):
        seconds.append(delay)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pass_by)
    return seconds


def records(count, partition=0):
    return [OutgoingRecord(TOPIC, None, b"%d" % n, (), partition) for n in range(count)]


def publish(broker, batch):
    async def start():
        return SimpleNamespace(_ensure_producer=lambda: broker)

    asyncio.run(publish_batch(SimpleNamespace(maybe_start_producer=start), batch))


BATCHES = [(0, [b"0", b"1"]), (0, [b"2", b"3"]), (0, [b"4"])]


# ---- The worker's -------------------------------------------------------------------------------


def test_records_of_a_partition_travel_in_batches_in_their_order(pauses):
    broker = Broker()
    publish(broker, [*records(5), *records(3, partition=1)])
    assert broker.sent == [*BATCHES, (1, [b"0", b"1"]), (1, [b"2"])]
    assert pauses == []


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_all_from_the_first_batch_that_failed_on_is_published_again_and_nothing_before(
    pauses, failing, in_turn
):
    broker = Broker(*[0] * failing, AWAY, in_turn=in_turn)
    publish(broker, records(5))
    first_try = BATCHES[: failing + 1] if in_turn else BATCHES
    assert broker.sent == [*first_try, *BATCHES[failing:]]


@pytest.mark.parametrize("error", [AWAY, TIMEOUT, UnknownTopicOrPartitionError()])
def test_what_passes_is_waited_for_with_a_pause_and_logged_once(pauses, error):
    broker = Broker(error, error)
    with capture_logs() as lines:
        publish(broker, records(1))
    assert len(broker.sent) == 3
    assert pauses == [1.0, 1.0]
    assert [line["event"] for line in lines] == ["topic_away", "topic_back"]
    assert (lines[0]["topic"], lines[0]["error"]) == (TOPIC, str(error))


def test_a_topic_that_nobody_has_made_yet_is_waited_for(pauses):
    broker = Broker()
    broker.unknown_for = 2
    publish(broker, records(1))
    assert (broker.sent, pauses) == ([(0, [b"0"])], [1.0, 1.0])


def test_what_never_passes_is_raised(pauses):
    broker = Broker(MessageSizeTooLargeError())
    with pytest.raises(MessageSizeTooLargeError):
        publish(broker, records(1))
    assert (len(broker.sent), pauses) == (1, [])


# ---- The one of transactions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((1_000, 3_000, 2_000), datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC)),
        ((-1, 2_000, -1), datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)),
        ((-1, -1, -1), None),
    ],
)
def test_the_broker_s_time_is_the_newest_that_it_says(times, expected):
    broker = Broker(*times)
    assert asyncio.run(FencedProducer(broker).publish(records(5))) == expected
    assert broker.sent == BATCHES
    assert broker.log == ["begin", "commit"]


def test_nothing_is_committed_of_what_the_broker_did_not_take():
    broker = Broker(0, AWAY)
    with pytest.raises(TransactionLostError, match="no route"):
        asyncio.run(FencedProducer(broker).publish(records(5)))
    assert broker.log == ["begin"]


# ---- That of commands ---------------------------------------------------------------------------


class Answers:
    """A producer of kafka-python whose broker answers to each record in turn."""

    def __init__(self, *answers):
        self.answers, self.flushes = list(answers), 0

    def send(self, *_, **__):
        return SimpleNamespace(get=self.get)

    def get(self, **_):
        if error := self.answers.pop(0):
            raise error

    def flush(self):
        self.flushes += 1


@pytest.mark.parametrize("error", [KafkaError("refused"), SyncTimeoutError("no answer")])
def test_a_flush_ends_well_only_if_the_broker_has_every_record(error):
    answers = Answers(None, error, None)
    send = SyncProducer(answers)
    for topic in ("email.sends", "delivery.commands"):
        send(topic, b"{}")
    with pytest.raises(BrokerError, match=f"topic delivery.commands did not take.*{error.args[0]}"):
        send.flush()
    assert answers.flushes == 1
    send("email.sends", b"{}")
    send.flush()  # of what was reported before, nothing is left


@pytest.mark.parametrize("error", [KafkaError("nobody"), OSError("no route")])
def test_without_a_broker_it_is_named_with_what_to_do(monkeypatch, error):
    def refuse(**_):
        raise error

    monkeypatch.setattr(producer, "KafkaProducer", refuse)
    settings = KafkaSettings(bootstrap="localhost:9092")
    with (
        pytest.raises(BrokerError, match="no Kafka broker answers at localhost:9092"),
        sync_producer(settings),
    ):
        pass
