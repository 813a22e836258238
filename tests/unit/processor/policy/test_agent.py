"""The steps of a decision, with fakes at both ends: nothing is kept or acked before it is out."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import get_args

import pytest
from prometheus_client import REGISTRY

from processor.intake.policy_feed import to_records
from processor.policy import agent, decisions
from processor.policy.agent import PolicyAgent
from processor.policy.config import Policies, Policy
from processor.policy.inputs import LookupResult
from processor.policy.state_store import StateStore
from schemas.addresses import Address
from schemas.decisions import RetryRequested
from schemas.events import MessageEvent
from tests.address_life import HOURS, MINUTES, START, bounce, command, message_event
from tests.chunks import chunk_of

JO = Address("acme", "email", "jo@example.com")


#: The label of each decision in the metric, by which dashboards know it: names of former classes.
METRIC_LABELS = {
    decisions.SoftBounced: "SoftBounced",
    decisions.StreakEnded: "StreakEnded",
    decisions.AttemptSent: "Resent",
    decisions.RetryScheduled: "RetryScheduled",
    decisions.RetryDue: "RetryAsked",
    decisions.RetryCancelled: "RetryCancelled",
    decisions.RetriesExhausted: "RetriesExhausted",
    decisions.SendRefused: "Refused",
    decisions.ReasonRecorded: "Noted",
    decisions.Suppressed: "Suppressed",
    decisions.Cleared: "Cleared",
    decisions.Reinstated: "Reinstated",
    decisions.CommandApplied: "Obeyed",
    decisions.CommandRejected: "CommandRefused",
}


class FakeWorker:
    """An agent with a broker that keeps what is published, a log to look up in, and a clock."""

    def __init__(self, **policy):
        self.now, self.watermark = START, None
        self.topics, self.lookups, self.lookup_requests = {}, {}, []
        self.suppressed, self.dead_letters, self.pauses = [], [], []
        self.failing_topic = None
        self.states = StateStore(self.read_states)
        self.policies = Policies(Policy(**policy))
        self.start_agent()

    def start_agent(self):
        self.agent = PolicyAgent(
            states=self.states, policies=self.policies, fetch_lookups=self.fetch_lookups,
            publish=self.publish, dead_letter=self.dead_letter,
            add_suppressed=self.suppressed.append, wait_until_caught_up=self.wait_until_caught_up,
            watermark=self.fetch_watermark, pause_feed=self.pauses.append, clock=lambda: self.now,
        )  # fmt: skip

    async def read_states(self, number):
        states = {}
        for record in self.topics.get("delivery.policy-state", ()):
            if record.partition == number:
                wake = int(record.headers[0][1]) if record.headers else None
                states[record.key] = (record.key.decode(), record.value, wake)
        return states.values()

    async def fetch_lookups(self, messages):
        self.lookup_requests.append(messages)
        return self.lookups

    async def publish(self, records):
        for record in records:
            if record.topic == self.failing_topic:
                raise ConnectionError("the broker is away")
            self.topics.setdefault(record.topic, []).append(record)

    async def dead_letter(self, dead_letters):
        self.dead_letters += dead_letters

    async def wait_until_caught_up(self, seconds):
        pass

    async def fetch_watermark(self):
        return self.watermark or self.now

    async def take(self, *inputs):
        """Let the agent take inputs as a chunk and decide on them; tell whether it was acked."""
        events = [each.model_dump() for each in inputs if isinstance(each, MessageEvent)]
        commands = [each for each in inputs if not isinstance(each, MessageEvent)]
        records = [
            SimpleNamespace(value=record.value, partition=0, topic=record.topic, offset=n)
            for n, record in enumerate(to_records(events, commands, 1))
        ]
        return await self.take_chunk(chunk_of(records))

    async def take_chunk(self, chunk):
        acks = []
        await self.agent.take(SimpleNamespace(value=chunk, ack=lambda: acks.append(1)))
        await self.agent.decide_waiting()
        return bool(acks)

    async def tick(self, at):
        """Let time pass to a moment."""
        self.now = at
        await self.states.loaded(0)
        await self.agent.tick()

    def retries(self):
        records = self.topics.get("delivery.retries", ())
        return [RetryRequested.model_validate_json(record.value) for record in records]

    def crash(self):
        """Begin anew, from what was published."""
        self.states = StateStore(self.read_states)
        self.start_agent()


def test_a_soft_bounce_is_scheduled_kept_and_requested_when_due():
    async def scenario():
        worker = FakeWorker()
        assert await worker.take(bounce("soft"))
        [state] = worker.topics["delivery.policy-state"]
        assert state.key.decode() == JO.key
        await worker.tick(START + 10 * MINUTES)
        assert worker.retries() == []
        worker.crash()
        await worker.tick(START + HOURS)
        [retry] = worker.retries()
        assert (retry.message_id, retry.attempt) == ("m1", 2)
        await worker.tick(START + 2 * HOURS)
        assert len(worker.retries()) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("topic", ["delivery.decisions", "delivery.policy-state"])
def test_what_the_broker_does_not_take_is_neither_kept_nor_acked_and_is_decided_again(topic):
    async def scenario():
        worker = FakeWorker()
        worker.failing_topic = topic
        with pytest.raises(ConnectionError):
            await worker.take(bounce("soft"))
        assert "delivery.policy-state" not in worker.topics
        worker.failing_topic = None
        worker.crash()
        assert await worker.take(bounce("soft"))
        published = {record.value for record in worker.topics["delivery.decisions"]}
        assert len(published) == 1  # the same event, however often it was published

    asyncio.run(scenario())


def test_time_passes_only_up_to_the_watermark():
    async def scenario():
        worker = FakeWorker()
        await worker.take(bounce("soft"))
        worker.watermark = START
        await worker.tick(START + HOURS)
        assert worker.retries() == []
        worker.watermark = None
        worker.lookups = {JO: LookupResult(finished={"m1": "it was delivered"})}
        await worker.tick(START + HOURS)
        assert worker.retries() == []
        assert worker.lookup_requests == [{JO: {"m1"}}]

    asyncio.run(scenario())


def test_a_partition_that_is_revoked_meanwhile_keeps_nothing_and_acks_nothing():
    async def scenario():
        worker = FakeWorker()

        async def revoke_and_fetch(messages):
            worker.states.revoke([0])
            return {}

        worker.fetch_lookups = revoke_and_fetch
        worker.start_agent()
        first, second = bounce("soft"), bounce("soft", START + HOURS, "m2")
        assert not await worker.take(first, second)
        assert worker.topics == {}

    asyncio.run(scenario())


@pytest.mark.parametrize("revoked", [False, True])
def test_partitions_are_decided_on_together_and_one_that_is_revoked_spares_the_others(revoked):
    async def scenario():
        worker, acked = FakeWorker(), []
        people = [f"p{number}@example.com" for number in range(9)]

        async def take_from_all(day, message):
            at = START + day * 24 * HOURS
            events = [
                bounce("soft", at, message).model_copy(update={"recipient": address}).model_dump()
                for address in people
            ]
            worker.now = at
            for record in to_records(events, [], 2):
                fetched = SimpleNamespace(
                    value=record.value, partition=record.partition, topic=record.topic, offset=day
                )
                event = SimpleNamespace(
                    value=chunk_of([fetched]), ack=partial(acked.append, record.partition)
                )
                await worker.agent.take(event)
            await worker.agent.decide_waiting()

        await take_from_all(0, "m1")
        assert sorted(acked) == [0, 1]
        assert worker.lookup_requests == []
        if revoked:
            fetch_lookups = worker.fetch_lookups

            async def revoke_and_fetch(messages):
                worker.states.revoke([1])
                return await fetch_lookups(messages)

            worker.fetch_lookups = revoke_and_fetch
            worker.start_agent()
        acked.clear()
        await take_from_all(1, "m2")
        [messages] = worker.lookup_requests
        assert {address.address for address in messages} == set(people)
        assert sorted(acked) == ([0] if revoked else [0, 1])
        states = worker.topics["delivery.policy-state"][len(people) :]
        assert {record.partition for record in states} == ({0} if revoked else {0, 1})

    asyncio.run(scenario())


def test_what_is_no_feed_is_a_dead_letter_and_the_rest_of_the_chunk_goes_on():
    async def scenario():
        worker = FakeWorker()
        record = SimpleNamespace(
            value=b"{", partition=0, topic="delivery.policy", offset=0, timestamp=1, headers=()
        )
        assert await worker.take_chunk(chunk_of([record]))
        assert [dead_letter.raw for dead_letter in worker.dead_letters] == [b"{"]

    asyncio.run(scenario())


def test_a_suppressed_address_is_known_at_once_and_its_entry_is_published_and_lifted():
    async def scenario():
        worker = FakeWorker()
        await worker.take(bounce("hard"))
        assert worker.suppressed == [JO]
        worker.now = START + 2 * HOURS
        await worker.take(command("reset", START + HOURS))
        entry, tombstone = worker.topics["delivery.suppressions"]
        assert b"hard_bounce" in entry.value
        assert (entry.key, tombstone.key, tombstone.value) == (*[JO.key.encode()] * 2, None)

    asyncio.run(scenario())


def test_a_state_of_which_nothing_is_left_becomes_a_tombstone():
    async def scenario():
        worker = FakeWorker()
        await worker.take(bounce("soft"))
        worker.lookups = {JO: LookupResult(finished={"m1": "it was delivered"})}
        await worker.tick(START + HOURS)
        await worker.tick(START + timedelta(days=400))
        assert worker.topics["delivery.policy-state"][-1].value is None

    asyncio.run(scenario())


def decision_counts():
    """Return how many decisions were counted by now, by their label."""
    [metric] = [each for each in REGISTRY.collect() if each.name == "sendlog_decisions"]
    return Counter({
        sample.labels["decision"]: int(sample.value)
        for sample in metric.samples if sample.name == "sendlog_decisions_total"
    })  # fmt: skip


def test_every_decision_has_the_label_that_dashboards_know():
    assert set(METRIC_LABELS) == set(get_args(decisions.Decision))
    for kind, label in METRIC_LABELS.items():
        assert agent._metric_label(object.__new__(kind)) == label


def test_decisions_are_counted_by_their_labels():
    async def scenario():
        worker = FakeWorker(retries=1)
        await worker.take(bounce("soft"))
        await worker.tick(START + HOURS)
        await worker.take(message_event("sent", START + HOURS, attempt=2))
        await worker.take(bounce("soft", START + 2 * HOURS, attempt=2))
        await worker.take(bounce("soft", START + 2 * HOURS, "m2"))
        await worker.take(message_event("delivery", START + 3 * HOURS, "m2"))
        await worker.take(bounce("hard", START + 4 * HOURS, "m3"))
        await worker.take(message_event("sent", START + 5 * HOURS, "m4", attempt=2))
        worker.now = START + 9 * HOURS
        await worker.take(command("reset", START + 6 * HOURS))
        await worker.take(command("reset", START + 7 * HOURS))

    before = decision_counts()
    asyncio.run(scenario())
    assert decision_counts() - before == {
        "SoftBounced": 3, "RetryScheduled": 2, "RetryAsked": 1, "Resent": 2, "RetriesExhausted": 1,
        "RetryCancelled": 1, "StreakEnded": 1, "Noted": 1, "Suppressed": 1, "Refused": 1,
        "Obeyed": 1, "Cleared": 1, "Reinstated": 1, "CommandRefused": 1,
    }  # fmt: skip
