"""The steps of a decision, with fakes at both ends: nothing is kept or acked before it is out."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import get_args

import pytest
from aiokafka.errors import KafkaConnectionError
from prometheus_client import REGISTRY

from processor.intake.policy_feed import to_records
from processor.kafka.broker_clock import BrokerClock
from processor.kafka.fenced_producer import TransactionLostError
from processor.policy import agent, batch, decisions, state_store
from processor.policy.agent import PolicyAgent
from processor.policy.batch import metric_label
from processor.policy.config import Policies, Policy
from processor.policy.inputs import LookupResult
from processor.policy.state_store import CLOCK_KEY, StateStore
from schemas.addresses import Address
from schemas.decisions import RetryRequested
from schemas.events import MessageEvent
from tests.address_life import HOURS, MINUTES, START, bounce, command, message_event
from tests.chunks import chunk_of

JO = Address("acme", "email", "jo@example.com")


#: The label of each decision in the metric, by which dashboards know it: names of former classes.
METRIC_LABELS = {
    decisions.SoftBounced: "SoftBounced",
    decisions.RefusalCounted: "RefusalCounted",
    decisions.MessageJoined: "MessageJoined",
    decisions.StreakEnded: "StreakEnded",
    decisions.AttemptSent: "Resent",
    decisions.RetryScheduled: "RetryScheduled",
    decisions.RetryDue: "RetryAsked",
    decisions.ResendAccepted: "ResendAsked",
    decisions.RetryCancelled: "RetryCancelled",
    decisions.RetriesExhausted: "RetriesExhausted",
    decisions.SendRefused: "Refused",
    decisions.ReasonRecorded: "Noted",
    decisions.Suppressed: "Suppressed",
    decisions.Cleared: "Cleared",
    decisions.Reinstated: "Reinstated",
    decisions.CommandApplied: "Obeyed",
    decisions.AddressForgotten: "AddressForgotten",
    decisions.CommandRejected: "CommandRefused",
    decisions.EntryRepeated: "EntryRepeated",
}


class FakePublisher:
    """Publishes for a partition in transactions; another one that takes over fences it."""

    def __init__(self, worker, number):
        self.worker, self.number, self.is_closed = worker, number, False
        worker.publishers[number] = self

    async def publish(self, records):
        worker = self.worker
        if worker.publishers[self.number] is not self:
            raise TransactionLostError("another producer has taken over")
        kept = [record for record in records if record.key != CLOCK_KEY]
        if any(record.topic == worker.failing_topic for record in kept):
            raise TransactionLostError("the broker refuses it")
        for record in kept:
            worker.topics.setdefault(record.topic, []).append(record)
        return worker.broker_time

    async def close(self):
        self.is_closed = True


class FakeWorker:
    """An agent with a broker that keeps what is published, a log to look up in, and a clock."""

    def __init__(self, partitions=1, mailers=None, **policy):
        self.mailers = mailers or {}
        self.partitions, self.fed = partitions, []
        self.now, self.watermark, self.broker_time = START, None, None
        self.elapsed_seconds = 0.0
        self.topics, self.lookups, self.lookup_requests = {}, {}, []
        self.suppressed, self.dead_letters, self.pauses = [], [], []
        self.failing_topic, self.publishers, self.read_errors = None, {}, []
        self.policies = Policies(Policy(**policy))
        self.start_agent()

    def start_agent(self):
        clock = BrokerClock(lambda: self.now, lambda: self.elapsed_seconds)
        self.states = StateStore(self.take_over, self.read_states, clock.observe)
        self.agent = PolicyAgent(
            states=self.states, policies=self.policies, fetch_lookups=self.fetch_lookups,
            dead_letter=self.dead_letter, feed=self.feed, partitions=self.partitions,
            add_suppressed=self.suppressed.append, wait_until_caught_up=self.wait_until_caught_up,
            watermark=self.fetch_watermark, pause_feed=self.pauses.append, clock=clock,
            mailers=self.mailers,
        )  # fmt: skip

    async def take_over(self, number):
        return FakePublisher(self, number)

    async def read_states(self, number):
        if self.read_errors:
            raise self.read_errors.pop()
        states = {}
        for record in self.topics.get("delivery.policy-state", ()):
            if record.partition == number:
                wake = int(record.headers[0][1]) if record.headers else None
                states[record.key] = (record.key.decode(), record.value, wake)
        return states.values()

    async def fetch_lookups(self, messages):
        self.lookup_requests.append(messages)
        return self.lookups

    async def dead_letter(self, dead_letters):
        self.dead_letters += dead_letters

    async def feed(self, records):
        self.fed += records

    async def wait_until_caught_up(self, seconds):
        pass

    async def fetch_watermark(self):
        return self.watermark or self.now

    async def take(self, *inputs):
        """Let the agent take inputs as a chunk and decide on them; tell whether it was acked."""
        events = [each.model_dump() for each in inputs if isinstance(each, MessageEvent)]
        commands = [each for each in inputs if not isinstance(each, MessageEvent)]
        records = [
            fetched(record.value, n) for n, record in enumerate(to_records(events, commands, 1))
        ]
        return await self.take_chunk(chunk_of(records))

    async def take_chunk(self, chunk):
        acks = []
        self.pass_time(self.now)
        await self.assign(0)
        self.agent.take(SimpleNamespace(value=chunk, ack=lambda: acks.append(1)))
        await self.agent.decide_waiting()
        return bool(acks)

    async def assign(self, *numbers):
        """Give the agent partitions; return once their states are read."""
        self.states.assign(numbers)
        for number in numbers:
            await self.states.loaded(number)

    def pass_time(self, at):
        """Let a clock that nobody sets come to the time of the other."""
        self.now = at
        self.elapsed_seconds = max(self.elapsed_seconds, (at - START).total_seconds())

    async def tick(self, at):
        """Let time pass to a moment."""
        self.pass_time(at)
        await self.assign(0)
        await self.agent.tick()

    def retries(self):
        records = self.topics.get("delivery.retries", ())
        return [RetryRequested.model_validate_json(record.value) for record in records]

    def crash(self):
        """Begin anew, from what was published."""
        self.start_agent()


def fetched(value, offset=0, partition=0):
    return SimpleNamespace(
        value=value, partition=partition, topic="delivery.policy", offset=offset,
        timestamp=1_793_610_000_000, headers=(),
    )  # fmt: skip


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
        assert not await worker.take(bounce("soft"))
        assert worker.topics == {}  # nothing of it
        worker.failing_topic = None
        worker.crash()
        assert await worker.take(bounce("soft"))
        published = {record.value for record in worker.topics["delivery.decisions"]}
        assert len(published) == 1  # the same event, however often it was published

    asyncio.run(scenario())


@pytest.fixture
def no_wait(monkeypatch):
    monkeypatch.setattr(state_store, "TAKEOVER_WAIT_SECONDS", 0)
    monkeypatch.setattr(state_store, "MIN_BACKOFF_SECONDS", 0)


def test_a_worker_that_goes_on_after_another_has_taken_over_writes_nothing(no_wait):
    async def scenario():
        worker = FakeWorker()
        await worker.take(bounce("soft"))

        async def pause_and_fetch(messages):
            # Meanwhile another worker has the partition, and suppresses the address.
            other = FakeWorker()
            other.topics, other.publishers = worker.topics, worker.publishers
            await other.take(bounce("hard", START + HOURS, "m2"))
            return {}

        worker.fetch_lookups = pause_and_fetch
        first = worker.states
        worker.start_agent()
        worker.states = first
        worker.agent._states = first
        assert not await worker.take(bounce("soft", START + 2 * HOURS, "m3"))
        *_, state = worker.topics["delivery.policy-state"]
        assert b"hard_bounce" in state.value
        assert worker.agent._waiting  # unless the partition is revoked, it is decided on again
        worker.agent.revoke([0])
        assert not worker.agent._waiting

    asyncio.run(scenario())


def test_a_partition_that_was_lost_but_is_still_ours_is_taken_over_and_decided_on_again(no_wait):
    async def scenario():
        worker, acks = FakeWorker(), []
        await worker.assign(0)
        lost = worker.publishers[0]
        worker.publishers[0] = None  # the broker gave up a transaction that took too long
        [record] = to_records([bounce("hard").model_dump()], [], 1)
        worker.agent.take(
            SimpleNamespace(value=chunk_of([fetched(record.value)]), ack=lambda: acks.append(1))
        )
        await worker.agent.decide_waiting()
        assert not acks
        await worker.states.loaded(0)
        await worker.agent.decide_waiting()
        assert acks == [1]
        assert worker.suppressed == [JO]
        await worker.states.close()
        assert lost.is_closed

    asyncio.run(scenario())


def test_a_chunk_of_which_one_part_was_lost_is_not_acked(no_wait, monkeypatch):
    monkeypatch.setattr(agent, "MAX_BATCH_INPUTS", 1)

    async def scenario():
        worker = FakeWorker()
        await worker.assign(0)
        worker.publishers[0] = None
        assert not await worker.take(bounce("soft"))
        assert "delivery.policy-state" not in worker.topics

    asyncio.run(scenario())


def test_states_that_cannot_be_read_yet_are_read_when_the_broker_is_back(no_wait):
    async def scenario():
        worker, publishers = FakeWorker(), []

        async def take_over(number):
            publishers.append(FakePublisher(worker, number))
            return publishers[-1]

        worker.take_over = take_over
        worker.start_agent()
        worker.read_errors = [KafkaConnectionError("away"), OSError("away")]
        assert await worker.take(bounce("soft"))
        assert worker.read_errors == []
        # A connection to the broker for each attempt would be one too many soon.
        assert [each.is_closed for each in publishers] == [True, True, False]

    asyncio.run(scenario())


def test_inputs_are_gathered_and_batches_are_apart(monkeypatch):
    monkeypatch.setattr(agent, "monotonic", lambda: 100.0)
    sleep, waits = asyncio.sleep, []

    async def pass_by(seconds):
        waits.append(seconds)
        await sleep(0)

    async def scenario():
        worker = FakeWorker()
        await worker.assign(0)
        running = asyncio.create_task(worker.agent.run())
        for message in ("m1", "m2"):
            [record] = to_records([bounce("soft", message=message).model_dump()], [], 1)
            acked = asyncio.Event()
            worker.agent.take(
                SimpleNamespace(value=chunk_of([fetched(record.value)]), ack=acked.set)
            )
            async with asyncio.timeout(60):
                await acked.wait()
        running.cancel()
        await asyncio.wait([running])

    monkeypatch.setattr(asyncio, "sleep", pass_by)
    monkeypatch.setattr(agent, "TICK_INTERVAL_SECONDS", 0)
    asyncio.run(scenario())
    assert [seconds for seconds in waits if seconds] == [0.1, 1.0]


def test_an_agent_that_runs_decides_and_lets_time_pass_and_lets_go_of_its_partitions(monkeypatch):
    for name in ("TICK_INTERVAL_SECONDS", "GATHER_SECONDS", "MIN_BATCH_INTERVAL_SECONDS"):
        monkeypatch.setattr(agent, name, 0)

    async def scenario():
        worker, acked = FakeWorker(), asyncio.Event()
        await worker.assign(0)
        running = asyncio.create_task(worker.agent.run())
        [record] = to_records([bounce("soft").model_dump()], [], 1)
        async with asyncio.timeout(60):
            worker.agent.take(
                SimpleNamespace(value=chunk_of([fetched(record.value)]), ack=acked.set)
            )
            await acked.wait()
            worker.pass_time(START + HOURS)
            while not worker.retries():
                await asyncio.sleep(0)
        assert not worker.publishers[0].is_closed
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert worker.publishers[0].is_closed

    asyncio.run(scenario())


def test_while_states_are_read_nothing_waits_but_their_own_partition():
    async def scenario():
        worker, reading = FakeWorker(partitions=2), asyncio.Event()
        read_states = worker.read_states

        async def read_slowly(number):
            if number == 1:
                await reading.wait()
            return await read_states(number)

        worker.read_states, acks = read_slowly, []
        worker.start_agent()
        await worker.assign(0)
        worker.states.assign([1])
        people = (bounce("soft", recipient=f"p{n}@example.com").model_dump() for n in range(9))
        for record in to_records(people, [], 2):
            chunk = chunk_of([fetched(record.value, partition=record.partition)])
            worker.agent.take(
                SimpleNamespace(value=chunk, ack=partial(acks.append, record.partition))
            )
        await worker.agent.decide_waiting()
        assert acks == [0]
        reading.set()
        await worker.states.loaded(1)
        await worker.agent.decide_waiting()
        assert acks == [0, 1]

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


def test_a_clock_that_is_a_year_ahead_for_a_moment_exhausts_and_forgets_nothing():
    async def scenario():
        worker = FakeWorker()
        await worker.take(bounce("soft"))
        worker.now = START + timedelta(days=365)  # and no time has passed
        await worker.agent.tick()
        assert worker.retries() == []
        worker.now = START
        await worker.tick(START + HOURS)
        [retry] = worker.retries()
        assert retry.attempt == 2

    asyncio.run(scenario())


def test_a_clock_that_is_ahead_is_compared_with_the_broker_s():
    async def scenario():
        worker = FakeWorker()
        await worker.take(bounce("soft"))
        worker.now = worker.broker_time = START + HOURS  # the machine was suspended
        await worker.agent.tick()  # asks the broker
        await worker.agent.tick()
        assert len(worker.retries()) == 1

    asyncio.run(scenario())


def test_a_partition_that_is_revoked_meanwhile_keeps_nothing_and_acks_nothing():
    async def scenario():
        worker = FakeWorker()

        async def revoke_and_fetch(messages):
            worker.agent.revoke([0])
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
        worker, acked = FakeWorker(partitions=2), []
        people = [f"p{number}@example.com" for number in range(9)]

        async def take_from_all(day, message):
            at = START + day * 24 * HOURS
            events = [
                bounce("soft", at, message).model_copy(update={"recipient": address}).model_dump()
                for address in people
            ]
            worker.pass_time(at)
            await worker.assign(0, 1)
            for record in to_records(events, [], 2):
                chunk = chunk_of([fetched(record.value, day, record.partition)])
                worker.agent.take(
                    SimpleNamespace(value=chunk, ack=partial(acked.append, record.partition))
                )
            await worker.agent.decide_waiting()

        await take_from_all(0, "m1")
        assert sorted(acked) == [0, 1]
        assert worker.lookup_requests == []
        if revoked:
            fetch_lookups = worker.fetch_lookups

            async def revoke_and_fetch(messages):
                worker.agent.revoke([1])
                return await fetch_lookups(messages)

            worker.agent._fetch_lookups = revoke_and_fetch
        acked.clear()
        await take_from_all(1, "m2")
        [messages] = worker.lookup_requests
        assert {address.address for address in messages} == set(people)
        assert sorted(acked) == ([0] if revoked else [0, 1])
        states = worker.topics["delivery.policy-state"][len(people) :]
        assert {record.partition for record in states} == ({0} if revoked else {0, 1})

    asyncio.run(scenario())


def test_a_line_that_is_no_feed_is_a_dead_letter_and_its_neighbours_are_decided_on():
    async def scenario():
        worker = FakeWorker()
        people = [f"p{number}@example.com" for number in range(40)]
        events = [
            message_event("unsubscribe", recipient=address).model_dump() for address in people
        ]
        [record] = to_records(events, [], 1)
        lines = record.value.split(b"\n")
        bad = [b'{"fact":{"kind":"unsubscribe"}}', b"{", b""]
        value = b"\n".join([*lines[:9], *bad, *lines[9:]])
        assert await worker.take_chunk(chunk_of([fetched(value, offset=7)]))
        assert {address.address for address in worker.suppressed} == set(people)
        assert [(letter.offset, letter.element, letter.raw) for letter in worker.dead_letters] == [
            (7, 9 + place, line) for place, line in enumerate(bad)
        ]

    asyncio.run(scenario())


@pytest.mark.parametrize("broken", ["decide", "lookups_needed", "to_outputs", "next_wake_at"])
def test_whatever_the_rules_raise_is_a_dead_letter_of_that_entry_alone(monkeypatch, broken):
    rule = getattr(batch, broken)

    def break_for_jo(*values, **options):
        if "about jo" in str(values):
            raise OverflowError("nobody foresaw it")
        return rule(*values, **options)

    monkeypatch.setattr(batch, broken, break_for_jo)

    async def scenario():
        worker = FakeWorker()
        inputs = [
            bounce("hard", message=f"about {name}", recipient=f"{name}@example.com")
            for name in ("ann", "jo", "kim")
        ]
        assert await worker.take(*inputs)
        assert [address.address for address in worker.suppressed] == [
            "ann@example.com", "kim@example.com",
        ]  # fmt: skip
        [letter] = worker.dead_letters
        assert letter.element == 1
        assert b"jo@example.com" in letter.raw
        assert letter.reason == "the rules cannot decide on it: unexpected OverflowError"

    asyncio.run(scenario())


def test_a_state_that_cannot_be_read_is_never_overwritten():
    async def scenario():
        worker = FakeWorker()
        await worker.take(bounce("hard"))
        [state] = worker.topics["delivery.policy-state"]
        worker.topics["delivery.policy-state"] = [state._replace(value=b'{"reasons": 3}')]
        worker.crash()
        assert await worker.take(bounce("soft"), bounce("soft", recipient="ann@example.com"))
        assert len(worker.dead_letters) == 1
        [_, after] = worker.topics["delivery.policy-state"]
        assert after.key.endswith(b"ann@example.com")

    asyncio.run(scenario())


def test_a_line_of_another_partition_as_after_a_replay_is_fed_there_and_changes_nothing_here():
    async def scenario():
        worker = FakeWorker(partitions=2)
        [jo] = to_records([bounce("hard").model_dump()], [], 2)
        ann = bounce("hard", recipient="p3@example.com").model_dump()
        [other] = to_records([ann], [], 2)
        assert {jo.partition, other.partition} == {0, 1}
        await worker.assign(0, 1)
        value = jo.value + b"\n" + other.value
        await worker.take_chunk(chunk_of([fetched(value, partition=jo.partition)]))
        assert worker.suppressed == [JO]
        assert worker.fed == [other]

    asyncio.run(scenario())


def test_an_address_whose_rules_fail_as_time_passes_waits_and_all_others_go_on(monkeypatch):
    async def scenario():
        worker = FakeWorker()
        await worker.take(bounce("soft"), bounce("soft", message="m2", recipient="ann@example.com"))
        rule = batch.decide

        def break_for_m1(state, *others):
            if "m1" in state.messages:
                raise OverflowError("nobody foresaw it")
            return rule(state, *others)

        monkeypatch.setattr(batch, "decide", break_for_m1)
        await worker.tick(START + HOURS)
        await worker.tick(START + HOURS + 2 * MINUTES)
        assert [retry.message_id for retry in worker.retries()] == ["m2"]
        monkeypatch.setattr(batch, "decide", rule)
        await worker.tick(START + 2 * HOURS + 2 * MINUTES)
        assert [retry.message_id for retry in worker.retries()] == ["m2", "m1"]

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


def test_a_mailer_with_walls_has_the_retries_and_entries_of_its_tenants_and_no_others():
    async def scenario():
        worker = FakeWorker(mailers={"acme": ["shop", "news"], "rival": ["other"]})
        await worker.take(bounce("soft"), bounce("soft", recipient="kim@example.com"))
        await worker.tick(START + HOURS)
        await worker.take(bounce("hard", START + 2 * HOURS, "m2"))
        for shared in ("delivery.retries", "delivery.suppressions"):
            records = [record[1:] for record in worker.topics[shared]]
            assert len(records) == {"delivery.retries": 2, "delivery.suppressions": 1}[shared]
            for mailer in ("shop", "news"):
                own = [record[1:] for record in worker.topics[f"{shared}.{mailer}"]]
                assert own == records
            assert f"{shared}.other" not in worker.topics
        await worker.take(bounce("hard", START + 2 * HOURS, "m3", tenant_id="elsewhere"))
        assert len(worker.topics["delivery.suppressions"]) == 2
        assert len(worker.topics["delivery.suppressions.shop"]) == 1

    asyncio.run(scenario())


def test_an_entry_is_published_again_for_a_mailer_that_is_new_once_by_a_command():
    async def scenario():
        worker = FakeWorker()
        await worker.take(bounce("hard"))
        worker.mailers = {"acme": ["shop"]}
        worker.crash()
        before = {name: list(records) for name, records in worker.topics.items()}
        worker.now = START + 2 * HOURS
        publish = command("publish", START + HOURS)
        await worker.take(publish, publish)
        await worker.take(publish)
        [entry, again] = worker.topics["delivery.suppressions"]
        [own] = worker.topics["delivery.suppressions.shop"]
        assert again == entry == own._replace(topic=entry.topic)
        assert worker.topics["delivery.decisions"] == before["delivery.decisions"]

    asyncio.run(scenario())


def test_who_is_not_suppressed_gets_a_tombstone_when_the_entry_is_published_again():
    async def scenario():
        worker = FakeWorker()
        await worker.take(command("publish", START))
        [record] = worker.topics["delivery.suppressions"]
        assert (record.key, record.value) == (JO.key.encode(), None)
        assert "delivery.decisions" not in worker.topics

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
        assert metric_label(object.__new__(kind)) == label


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
