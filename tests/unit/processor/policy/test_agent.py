"""The steps of a decision, with fakes at both ends: nothing is kept or acked before it is said."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import pytest

from processor.intake.policy_feed import to_records
from processor.policy.agent import Decisions
from processor.policy.config import Policies, Policy
from processor.policy.decide import Heard
from processor.policy.state_store import States
from schemas.addresses import Address
from schemas.decisions import RetryRequested
from tests.address_life import HOURS, MINUTES, START, bounce, command
from tests.chunks import chunk_of

JO = Address("acme", "email", "jo@example.com")


class World:
    """A broker that keeps what is published, a log that knows what it is told, and a clock."""

    def __init__(self, **policy):
        self.now, self.until = START, None
        self.topics, self.heard, self.asked, self.listed, self.buried = {}, {}, [], [], []
        self.failing, self.held = None, []
        self.states = States(self.read)
        self.policies = Policies(Policy(**policy))
        self.begin()

    def begin(self):
        self.decisions = Decisions(
            states=self.states, policies=self.policies, hear=self.hear, publish=self.publish,
            bury=self.bury, list_address=self.listed.append, intake_keeps_up=self.keeps_up,
            known_until=self.known_until, hold=self.held.append, clock=lambda: self.now,
        )  # fmt: skip

    async def read(self, number):
        kept = {}
        for record in self.topics.get("delivery.policy-state", ()):
            if record.partition == number:
                wake = int(record.headers[0][1]) if record.headers else None
                kept[record.key] = (record.key.decode(), record.value, wake)
        return kept.values()

    async def hear(self, asked):
        self.asked.append(asked)
        return self.heard

    async def publish(self, records):
        for record in records:
            if record.topic == self.failing:
                raise ConnectionError("the broker is away")
            self.topics.setdefault(record.topic, []).append(record)

    async def bury(self, letters):
        self.buried += letters

    async def keeps_up(self, patience):
        pass

    async def known_until(self):
        return self.until or self.now

    async def take(self, *events):
        """Give events to the agent as a chunk; tell whether it was acked."""
        facts = [each.model_dump() for each in events if hasattr(each, "kind")]
        commands = [each for each in events if not hasattr(each, "kind")]
        chunk = [
            SimpleNamespace(value=record.value, partition=0, topic=record.topic, offset=n)
            for n, record in enumerate(to_records(facts, commands, 1))
        ]
        acks = []
        event = SimpleNamespace(value=chunk_of(chunk), ack=lambda: acks.append(1))
        await self.decide(event)
        return bool(acks)

    async def decide(self, event):
        """Let the agent take a chunk and decide on it."""
        await self.decisions.take(event)
        await self.decisions.decide_waiting()

    async def pass_time(self, until):
        """Let the scheduler look once at a time."""
        self.now = until
        await self.states.opened(0)
        await self.decisions.pass_time()

    def retries(self):
        published = self.topics.get("delivery.retries", ())
        return [RetryRequested.model_validate_json(record.value) for record in published]

    def crash(self):
        """Begin anew, from what was published."""
        self.states = States(self.read)
        self.begin()


def test_a_soft_bounce_is_scheduled_kept_and_asked_for_when_due():
    async def life():
        world = World()
        assert await world.take(bounce("soft"))
        [kept] = world.topics["delivery.policy-state"]
        assert kept.key.decode() == JO.key
        await world.pass_time(START + 10 * MINUTES)
        assert world.retries() == []
        world.crash()
        await world.pass_time(START + HOURS)
        [retry] = world.retries()
        assert (retry.message_id, retry.attempt) == ("m1", 2)
        await world.pass_time(START + 2 * HOURS)
        assert len(world.retries()) == 1

    asyncio.run(life())


@pytest.mark.parametrize("topic", ["delivery.decisions", "delivery.policy-state"])
def test_what_the_broker_does_not_take_is_neither_kept_nor_acked_and_is_decided_again(topic):
    async def life():
        world = World()
        world.failing = topic
        with pytest.raises(ConnectionError):
            await world.take(bounce("soft"))
        assert "delivery.policy-state" not in world.topics
        world.failing = None
        world.crash()
        assert await world.take(bounce("soft"))
        said = {record.value for record in world.topics["delivery.decisions"]}
        assert len(said) == 1  # the same fact, however often it was said

    asyncio.run(life())


def test_time_passes_only_as_far_as_everything_is_known():
    async def life():
        world = World()
        await world.take(bounce("soft"))
        world.until = START
        await world.pass_time(START + HOURS)
        assert world.retries() == []
        world.until = None
        world.heard = {JO: Heard(over={"m1": "it was delivered"})}
        await world.pass_time(START + HOURS)
        assert world.retries() == []
        assert world.asked == [{JO: {"m1"}}]

    asyncio.run(life())


def test_a_partition_that_is_taken_away_meanwhile_keeps_nothing_and_acks_nothing():
    async def life():
        world = World()

        async def hear(asked):
            world.states.forget([0])
            return {}

        world.hear = hear
        world.begin()
        first, second = bounce("soft"), bounce("soft", START + HOURS, "m2")
        assert not await world.take(first, second)
        assert world.topics == {}

    asyncio.run(life())


@pytest.mark.parametrize("lost", [False, True])
def test_partitions_are_decided_on_together_and_one_that_is_taken_away_spares_the_others(lost):
    async def life():
        world, acked = World(), []
        people = [f"p{number}@example.com" for number in range(9)]

        async def give(day, message):
            at = START + day * 24 * HOURS
            facts = [
                bounce("soft", at, message).model_copy(update={"recipient": each}).model_dump()
                for each in people
            ]
            world.now = at
            for record in to_records(facts, [], 2):
                read = SimpleNamespace(
                    value=record.value, partition=record.partition, topic=record.topic, offset=day
                )
                event = SimpleNamespace(
                    value=chunk_of([read]), ack=partial(acked.append, record.partition)
                )
                await world.decisions.take(event)
            await world.decisions.decide_waiting()

        await give(0, "m1")
        assert sorted(acked) == [0, 1]
        assert world.asked == []
        if lost:
            hear = world.hear

            async def lose(asked):
                world.states.forget([1])
                return await hear(asked)

            world.hear = lose
            world.begin()
        acked.clear()
        await give(1, "m2")
        [asked] = world.asked
        assert {each.address for each in asked} == set(people)
        assert sorted(acked) == ([0] if lost else [0, 1])
        kept = {each.partition for each in world.topics["delivery.policy-state"][len(people) :]}
        assert kept == ({0} if lost else {0, 1})

    asyncio.run(life())


def test_what_is_no_feed_is_a_dead_letter_and_the_rest_of_the_chunk_goes_on():
    async def life():
        world = World()
        record = SimpleNamespace(
            value=b"{", partition=0, topic="delivery.policy", offset=0, timestamp=1, headers=()
        )
        acks = []
        event = SimpleNamespace(value=chunk_of([record]), ack=lambda: acks.append(1))
        await world.decide(event)
        assert [letter.raw for letter in world.buried] == [b"{"]
        assert acks

    asyncio.run(life())


def test_a_listed_address_is_known_at_once_and_its_entry_is_published_and_lifted():
    async def life():
        world = World()
        await world.take(bounce("hard"))
        assert world.listed == [JO]
        world.now = START + 2 * HOURS
        await world.take(command("reset", START + HOURS))
        entry, tombstone = world.topics["delivery.suppressions"]
        assert b"hard_bounce" in entry.value
        assert (entry.key, tombstone.key, tombstone.value) == (*[JO.key.encode()] * 2, None)

    asyncio.run(life())


def test_a_state_that_is_nothing_any_more_becomes_a_tombstone():
    async def life():
        world = World()
        await world.take(bounce("soft"))
        world.heard = {JO: Heard(over={"m1": "it was delivered"})}
        await world.pass_time(START + HOURS)
        await world.pass_time(START + timedelta(days=400))
        assert world.topics["delivery.policy-state"][-1].value is None

    asyncio.run(life())
