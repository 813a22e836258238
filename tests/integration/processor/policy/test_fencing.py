"""A worker that is paused between its look at a state and its write never overwrites a newer one.

The broker is real; the pause is a lookup that does not end before another worker has taken over.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from functools import partial
from types import SimpleNamespace

import pytest

from processor.intake.policy_feed import to_records
from processor.kafka import patches
from processor.kafka.batch_producer import OutgoingRecord
from processor.kafka.broker_clock import BrokerClock
from processor.kafka.fenced_producer import FencedProducer, TransactionLostError
from processor.policy.agent import PolicyAgent
from processor.policy.config import Policies, Policy
from processor.policy.state_store import StateStore, read_partition_states, take_over_partition
from processor.settings import KafkaSettings
from tests.address_life import HOURS, START, bounce, message_event
from tests.chunks import chunk_of
from tests.system import empty_topics, read

PARTITION = 0


@pytest.fixture
def kafka(broker):
    patches.apply()
    settings = KafkaSettings(
        bootstrap=broker.bootstrap, replication=1, partitions=1, group=f"g{uuid.uuid4().hex}"
    )
    empty_topics(settings)
    return settings


class Worker:
    """A worker's policy on a real broker, with nothing to look up, and chunks by hand."""

    def __init__(self, kafka, fetch_lookups):
        clock = BrokerClock()
        self.acks, self.dead_letters = [], []
        self.states = StateStore(
            partial(take_over_partition, kafka),
            partial(read_partition_states, kafka, partitions=1),
            clock.observe,
        )
        self.agent = PolicyAgent(
            states=self.states, policies=Policies(Policy()), fetch_lookups=fetch_lookups,
            dead_letter=self.dead_letter, feed=self.wait, partitions=1,
            add_suppressed=lambda _: None, wait_until_caught_up=self.wait,
            watermark=self.wait, pause_feed=lambda _: None, clock=clock,
        )  # fmt: skip

    async def dead_letter(self, letters):
        self.dead_letters += letters

    async def wait(self, *_):
        pass

    async def assign(self):
        self.states.assign([PARTITION])
        await self.states.loaded(PARTITION)

    async def take(self, *events):
        [record] = to_records([event.model_dump() for event in events], [], 1)
        fetched = SimpleNamespace(
            value=record.value, partition=PARTITION, topic="delivery.policy", offset=0,
            timestamp=None, headers=(),
        )  # fmt: skip
        ack = partial(self.acks.append, events[0].message_id)
        self.agent.take(SimpleNamespace(value=chunk_of([fetched]), ack=ack))
        await self.agent.decide_waiting()


async def nothing(_messages):
    return {}


def test_the_write_of_a_paused_owner_is_refused_and_sends_stay_refused(kafka):
    async def scenario():
        paused, goes_on = asyncio.Event(), asyncio.Event()

        async def pause(_messages):
            paused.set()
            await goes_on.wait()
            return {}

        first, second = Worker(kafka, pause), Worker(kafka, nothing)
        await first.assign()
        await first.take(bounce("soft", START, "m0"))
        old = asyncio.create_task(first.take(bounce("soft", START + 25 * HOURS, "m1")))
        await paused.wait()  # it has looked at the state, and not written yet
        await second.assign()
        await second.take(bounce("hard", START + 26 * HOURS, "m2"))
        goes_on.set()
        await old
        assert (first.acks, second.acks) == (["m0"], ["m2"])
        first.agent.revoke([PARTITION])
        await second.take(message_event("sent", START + 50 * HOURS, "m3"))
        third = Worker(kafka, nothing)  # and so it is after a restart
        await third.assign()
        await third.take(message_event("sent", START + 51 * HOURS, "m4"))
        for worker in (first, second, third):
            await worker.states.close()

    asyncio.run(scenario())
    decisions = [json.loads(record.value) for record in read(kafka.bootstrap, "delivery.decisions")]
    refused = [event["message_id"] for event in decisions if event["kind"] == "invalid"]
    assert refused == ["m3", "m4"]
    assert not any(event["message_id"] == "m1" for event in decisions)
    [entry] = read(kafka.bootstrap, "delivery.suppressions")
    assert b"hard_bounce" in entry.value


def test_a_transaction_is_read_as_a_whole_or_not_at_all(kafka):
    async def scenario():
        record = partial(OutgoingRecord, "delivery.retries", b"key")
        first = await FencedProducer.open(kafka, "one")
        assert (await first.publish([record(b"1"), record(b"2")])).year > 2020
        second = await FencedProducer.open(kafka, "one")
        with pytest.raises(TransactionLostError):
            await first.publish([record(b"3")])
        with pytest.raises(TransactionLostError):
            await first.publish([record(b"4")])
        await second.publish([record(b"5")])
        await first.close()
        await second.close()
        too_large = await FencedProducer.open(kafka, "two")
        with pytest.raises(TransactionLostError):
            await too_large.publish([record(b"6"), record(os.urandom(17_000_000))])
        await too_large.close()
        again = await FencedProducer.open(kafka, "two")
        await again.publish([record(b"7")])
        await again.close()

    asyncio.run(scenario())
    values = [record.value for record in read(kafka.bootstrap, "delivery.retries")]
    assert values == [b"1", b"2", b"5", b"7"]
