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
