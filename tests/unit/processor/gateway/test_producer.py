"""How much waits for the broker at the gateway, and what a webhook that is not published hears."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from processor.gateway import producer
from processor.gateway.producer import NotPublishedError, WebhookProducer
from processor.settings import KafkaSettings

TOPIC = "email.events.postal"


class Broker:
    """A connected producer whose broker answers when the test lets it."""

    def __init__(self, error=None):
        self.error, self.goes_on, self.values = error, asyncio.Event(), []

    async def send_and_wait(self, _topic, value, **_):
        await self.goes_on.wait()
        if self.error:
            raise self.error
        self.values.append(value)


def gateway(broker, timeout=60):
    made = WebhookProducer(KafkaSettings(), [TOPIC], timeout=timeout)
    made._producer = broker
    return made


@pytest.mark.parametrize("error", [None, KafkaConnectionError("no route")])
def test_as_many_bytes_wait_as_there_is_room_for_and_not_one_more(monkeypatch, error):
    monkeypatch.setattr(producer, "MAX_WAITING_WEBHOOK_BYTES", 100)

    async def scenario():
        broker = Broker(error)
        made = gateway(broker)
        waiting = [asyncio.create_task(made.publish(TOPIC, b"x" * size, ())) for size in (60, 40)]
        await asyncio.sleep(0)
        with pytest.raises(NotPublishedError, match="too much is waiting"):
            await made.publish(TOPIC, b"x", ())
        broker.goes_on.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in results] == [NotPublishedError if error else type(None)] * 2
        # Whatever came of them, they wait no more.
        broker.error, made._producer = None, broker
        await made.publish(TOPIC, b"x" * 100, ())
        assert len(broker.values[-1]) == 100

    asyncio.run(scenario())


def test_a_broker_that_does_not_answer_in_time_is_named_and_the_producer_stays():
    async def scenario():
        made = gateway(broker := Broker(), timeout=0)
        with pytest.raises(NotPublishedError, match="did not confirm within 0 s"):
            await made.publish(TOPIC, b"x", ())
        assert made._producer is broker

    asyncio.run(scenario())


def test_an_error_ends_the_producer_and_only_the_one_that_had_it():
    async def scenario():
        made = gateway(broker := Broker(KafkaConnectionError("no route")))
        waiting = [asyncio.create_task(made.publish(TOPIC, b"x", ())) for _ in range(2)]
        await asyncio.sleep(0)
        broker.goes_on.set()
        with capture_logs() as lines:
            for each in waiting:
                with pytest.raises(NotPublishedError, match="did not take"):
                    await each
        assert [(line["event"], line["error"]) for line in lines] == [
            ("producer_lost", "KafkaConnectionError: no route")
        ]
        with pytest.raises(NotPublishedError, match="the broker is away"):
            await made.publish(TOPIC, b"x", ())
        assert await made.problem() == "the broker is away"

    asyncio.run(scenario())


class Cluster:
    """What producers connect to: some topics, or nothing that answers."""

    def __init__(self, monkeypatch):
        self.topics, self.is_away = {TOPIC}, False
        self.made, self.stopped, self.connected = [], [], asyncio.Event()
        self.pauses = []
        sleep = asyncio.sleep

        async def pass_by(delay):
            self.pauses.append(delay)
            await sleep(0)

        monkeypatch.setattr(asyncio, "sleep", pass_by)
        monkeypatch.setattr(producer, "AIOKafkaProducer", lambda **_: Connection(self))


class Connection(Broker):
    """A producer of the cluster."""

    def __init__(self, cluster):
        super().__init__()
        self.cluster, self.client = cluster, self
        self.goes_on.set()
        cluster.made.append(self)

    async def start(self):
        if self.cluster.is_away:
            raise KafkaConnectionError("no route")

    async def fetch_all_metadata(self):
        return self

    def topics(self):
        return self.cluster.topics

    async def stop(self):
        self.cluster.stopped.append(self)


async def until(condition):
    """Let the other tasks run until a condition holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


def test_it_connects_once_the_broker_and_all_topics_are_there_and_says_meanwhile_why_not(
    monkeypatch,
):
    async def scenario():
        cluster = Cluster(monkeypatch)
        cluster.is_away, cluster.topics = True, set()
        made = WebhookProducer(KafkaSettings(), [TOPIC], timeout=60)
        running = asyncio.create_task(made.run())
        with capture_logs() as lines:
            for problem in (
                "the broker is away",
                f"topic {TOPIC} is missing: run sendlog topics apply",
            ):
                attempts = len(cluster.made)
                await until(lambda attempts=attempts: len(cluster.made) > attempts + 3)
                assert await made.problem() == problem
                with pytest.raises(NotPublishedError, match=problem):
                    await made.publish(TOPIC, b"x", ())
                cluster.is_away = False
            cluster.topics = {TOPIC, "another"}
            await until(lambda: made._producer)
        waits = [line["problem"] for line in lines if line["event"] == "gateway_waits"]
        assert len(waits) == 2  # each is logged once, however often it was tried
        assert cluster.pauses.count(1.0) == len(cluster.made) - 1
        assert cluster.stopped == cluster.made[:-1]
        await made.publish(TOPIC, b"x", ())
        assert made._producer.values == [b"x"]
        running.cancel()
        await asyncio.wait([running])
        assert cluster.stopped == cluster.made

    asyncio.run(scenario())


def test_a_producer_that_failed_is_replaced_and_stopped(monkeypatch):
    async def scenario():
        cluster = Cluster(monkeypatch)
        made = WebhookProducer(KafkaSettings(), [TOPIC], timeout=60)
        running = asyncio.create_task(made.run())
        await until(lambda: made._producer)
        first = made._producer
        first.error = KafkaConnectionError("no route")
        with pytest.raises(NotPublishedError, match="did not take"):
            await made.publish(TOPIC, b"1", ())
        await until(lambda: made._producer)
        await made.publish(TOPIC, b"2", ())
        assert made._producer is not first
        assert made._producer.values == [b"2"]
        await until(lambda: cluster.stopped == [first])
        running.cancel()
        await asyncio.wait([running])
        assert cluster.stopped == cluster.made

    asyncio.run(scenario())
