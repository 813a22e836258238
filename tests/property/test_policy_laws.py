"""The laws of the policy: copies, order and crashes, against a model that knows none of them."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from processor.policy.config import Policy
from processor.policy.decide import decide
from processor.policy.evolve import evolve, prune
from processor.policy.inputs import LookupResult, Tick
from processor.policy.outputs import entry_of, to_outputs
from processor.policy.state import AddressState, dump_state, load_state
from schemas.addresses import Address
from tests.address_life import DAYS, HOURS, START, bounce, command, message_event

JO = Address("acme", "email", "jo@example.com")
SECOND = timedelta(seconds=1)
NOW = START + 400 * HOURS

#: Hours after the start; two events may share one.
moments = st.integers(0, 60)


def happening(kinds, hours=moments):
    """Return a strategy of events that suppress an address, or end that."""
    return st.builds(
        lambda kind, hour, message: {
            "hard": lambda at: bounce("hard", at, message),
            "complaint": lambda at: message_event("complaint", at, message),
            "echo": lambda at: message_event("invalid", at, message, provider="ses"),
            "unsubscribe": lambda at: message_event("unsubscribe", at, message),
            "resubscribe": lambda at: message_event("resubscribe", at, message),
        }[kind](START + hour * HOURS),
        st.sampled_from(kinds),
        hours,
        st.sampled_from(["m1", "m2", "m3"]),
    )


RESETTABLE = ("hard", "complaint", "echo")
suppressing = happening((*RESETTABLE, "unsubscribe", "resubscribe"))
soft = st.builds(
    lambda hour, message, attempt: bounce("soft", START + hour * HOURS, message, attempt),
    moments,
    st.sampled_from(["m1", "m2", "m3"]),
    st.integers(1, 4),
)
resent = st.builds(
    lambda hour, message, attempt: message_event(
        "sent", START + hour * HOURS, message, attempt=attempt
    ),
    moments,
    st.sampled_from(["m1", "m2", "m3"]),
    st.integers(2, 4),
)


def run_policy(inputs, policy=None, now=NOW):
    """Return the state after inputs, and what was published of each."""
    policy = policy or Policy()
    state, outputs = AddressState(), []
    for input_ in inputs:
        decisions, after = decide(state, input_, now, policy)
        evolved = state
        for decision in decisions:
            evolved = evolve(evolved, decision)
            assert evolve(evolved, decision) == evolved
        assert evolved == after
        outputs.append(to_outputs(JO, state, decisions, after))
        state = load_state(dump_state(prune(after, now, policy)))
    return state, outputs


def in_another_order(data, events):
    """Return events in any order but their own, where there is another."""
    shuffled = data.draw(st.permutations(events))
    return shuffled if shuffled != events else events[::-1]


def identity(event):
    return event.event_id


@given(st.lists(suppressing | soft | resent, min_size=1, max_size=12), st.data())
def test_a_copy_that_comes_at_any_later_time_changes_nothing(events, data):
    once, _ = run_policy(events)
    places = data.draw(st.lists(st.integers(0, len(events) - 1), min_size=1, max_size=8))
    copied = list(events)
    for place in places:
        later = data.draw(st.integers(copied.index(events[place]) + 1, len(copied)))
        copied.insert(later, events[place])
    twice, outputs = run_policy(copied)
    assert twice == once
    published = [event for each in outputs for event in each.events]
    ids = [event.event_id for event in published if event.kind == "suppressed"]
    assert len(ids) == len(set(ids))


@given(st.lists(suppressing, min_size=2, max_size=7, unique_by=identity), st.data())
def test_what_suppresses_an_address_may_come_in_any_order(events, data):
    shuffled = in_another_order(data, events)
    one, _ = run_policy(events)
    other, _ = run_policy(shuffled)
    assert entry_of(JO, one) == entry_of(JO, other)
    assert (one.reasons, one.cleared) == (other.reasons, other.cleared)


@given(st.lists(soft | resent, min_size=2, max_size=7, unique_by=identity), st.data())
def test_attempts_may_become_known_in_any_order(events, data):
    """Of two notices of one attempt the first that comes sets the due time, no more."""
    policy = Policy(blacklists=frozenset(), horizon=timedelta(days=300), retries=5)
    shuffled = in_another_order(data, events)
    one, _ = run_policy(events, policy)
    other, _ = run_policy(shuffled, policy)
    assert one.messages.keys() == other.messages.keys()
    for name, message in one.messages.items():
        assert message.last_bounce == other.messages[name].last_bounce
        assert message.last_attempt == other.messages[name].last_attempt
        assert (message.due_at is None) == (other.messages[name].due_at is None)


@given(st.lists(suppressing, max_size=5), moments, st.data())
def test_what_happened_before_a_confirmed_reset_suppresses_no_more_whenever_it_comes(
    before, hour, data
):
    at = START + hour * HOURS
    reset = command("reset", at, confirmed_complaint=True)
    inputs = [*before, bounce("hard", at, "m0"), reset]  # so that there is something to reset
    state, _ = run_policy(inputs)
    assert reset.id in state.applied_ids
    latecomers = st.lists(happening(RESETTABLE, st.integers(0, hour)), min_size=1, max_size=4)
    again, outputs = run_policy([*inputs, *data.draw(latecomers)])
    assert again.active_reasons == state.active_reasons
    assert not any(each.events for each in outputs[len(inputs) :])
    for reason in state.active_reasons:
        assert reason.rule == "unsubscribe" or reason.since > at


@given(
    st.lists(soft, min_size=2, max_size=12, unique_by=lambda event: event.occurred_at), st.data()
)
def test_soft_bounces_in_order_are_counted_exactly_and_in_another_order_never_more(events, data):
    ordered = sorted(events, key=lambda event: event.occurred_at)
    policy = Policy(soft_threshold=20)
    inordered, _ = run_policy(ordered, policy)
    shuffled, _ = run_policy(in_another_order(data, ordered), policy)
    assert inordered.streak == counted_in_order(ordered)
    assert 1 <= len(shuffled.streak) <= longest_streak(events)
    assert shuffled.streak.items() <= {(e.message_id, e.occurred_at) for e in events}


def counted_in_order(events):
    """Return the messages that count, each once and a day after the one before it."""
    counted = {}
    for event in events:
        last = max(counted.values(), default=None)
        if event.message_id not in counted and (last is None or event.occurred_at - last >= DAYS):
            counted[event.message_id] = event.occurred_at
    return counted


def longest_streak(events):
    """Return how many messages can be chosen a day apart, each by any of its bounces."""
    times = sorted({(event.occurred_at, event.message_id) for event in events})

    def longest(since, used):
        return max(
            (
                1 + longest(at, used | {message_id})
                for at, message_id in times
                if message_id not in used and (since is None or at - since >= DAYS)
            ),
            default=0,
        )

    return longest(None, frozenset())


class PolicyModel:
    """What must come of inputs that come once each and in order: counters and flags."""

    SCHEDULE = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=4))

    def __init__(self):
        self.reasons = {}  # rule: the times of what suppresses by it
        self.until = None  # of the suppression by soft bounces
        self.streak, self.last_success_at = [], None  # (message, time)
        self.messages = {}
        self.requested, self.exhausted, self.refused = set(), set(), set()

    def message(self, name, now):
        return self.messages.setdefault(
            name,
            {"first": now, "sent": 1, "bounced": 0, "due": None, "arrived": False, "end": False},
        )

    def expire(self, now):
        if self.until is not None and now >= self.until:
            self.until, self.streak = None, []

    @property
    def rules(self):
        active = {name for name, times in self.reasons.items() if times}
        return active | ({"soft_bounces"} if self.until else set())

    @property
    def refusal(self):
        return "skipped" if "unsubscribe" in self.rules else "invalid"

    def suppress(self, rule, now):
        self.expire(now)
        self.reasons.setdefault(rule, []).append(now)

    def succeed(self, name, now):
        self.message(name, now)["arrived"] = True
        self.last_success_at = now

    def bounce_hard(self, name, now):
        self.suppress("hard_bounce", now)
        if self.messages.get(name):
            self.messages[name].update(end=True, due=None)

    def bounce_softly(self, name, now, due):
        """Take a soft bounce of the last attempt; `due` tells when the next one was scheduled."""
        self.expire(now)
        message = self.message(name, now)
        if self.last_success_at:
            self.streak = [(n, at) for n, at in self.streak if at > self.last_success_at]
        counted = {message_id for message_id, _ in self.streak}
        if name not in counted and (not self.streak or now - self.streak[-1][1] >= DAYS):
            self.streak.append((name, now))
            if len(self.streak) >= 5:
                self.until = now + 30 * DAYS
        attempt, message["bounced"] = message["sent"], message["sent"]
        if message["arrived"] or message["end"]:
            return
        if self.rules:
            self.refused.add((name, attempt, self.refusal))
            message["end"] = True
        elif attempt > 3 or now + 0.9 * self.SCHEDULE[attempt - 1] > message["first"] + 3 * DAYS:
            self.exhausted.add(name)
            message["end"] = True
        else:
            when = due(name, attempt + 1)
            if when is None:  # the jitter put it beyond the horizon
                assert now + 1.1 * self.SCHEDULE[attempt - 1] > message["first"] + 3 * DAYS
                self.exhausted.add(name)
                message["end"] = True
                return
            wait = (when - now) / self.SCHEDULE[attempt - 1]
            assert abs(wait - 1) <= 0.1 + 1e-4
            message["due"] = when

    def send_again(self, name, now):
        self.expire(now)
        message = self.messages[name]
        message["sent"] += 1
        if self.rules:
            self.refused.add((name, message["sent"], self.refusal))

    def send(self, name, now):
        self.expire(now)
        if self.rules:
            self.refused.add((name, 1, self.refusal))

    def tick(self, now):
        self.expire(now)
        for name, message in self.messages.items():
            if message["due"] is None or message["due"] > now:
                continue
            message["due"] = None
            if message["arrived"]:
                pass
            elif self.rules:
                self.refused.add((name, message["sent"], self.refusal))
                message["end"] = True
            elif now > message["first"] + 3 * DAYS:
                self.exhausted.add(name)
                message["end"] = True
            else:
                self.requested.add((name, message["sent"] + 1))

    def reset(self, now, *, confirmed):
        self.expire(now)
        if self.reasons.get("complaint") and not confirmed:
            return
        unsubscribes = self.reasons.get("unsubscribe", [])
        self.reasons, self.until, self.streak = {"unsubscribe": unsubscribes}, None, []

    def resubscribe(self, now):
        self.expire(now)
        self.reasons["unsubscribe"] = []


NAMES = [f"m{n}" for n in range(8)]
message_ids = st.sampled_from(NAMES)


class PolicyMachine(RuleBasedStateMachine):
    """One address: its inputs, taken again after crashes and as copies, against the model."""

    @initialize()
    def begin(self):
        self.now, self.policy, self.model = START, Policy(), PolicyModel()
        self.inputs = []  # (input, now, lookup), in the order in which they are on the topic
        self.snapshots = [(0, START, dump_state(AddressState()))]
        self.state, self.entry = AddressState(), None
        self.events, self.retries = {}, {}

    def feed(self, input_):
        messages = self.model.messages.items()
        lookup = LookupResult(
            last_success_at=self.model.last_success_at,
            finished={name: "it arrived" for name, message in messages if message["arrived"]},
        )
        self.inputs.append((input_, self.now, lookup))
        self.take(*self.inputs[-1])

    def take(self, input_, now, lookup):
        decisions, after = decide(self.state, input_, now, self.policy, lookup)
        outputs = to_outputs(JO, self.state, decisions, after)
        self.events |= {event.event_id: event for event in outputs.events}
        for retry in outputs.retries:
            assert self.retries.setdefault(retry.id, retry) == retry
            assert retry.due_at <= now
        self.entry = outputs.entry if outputs.entry_changed else self.entry
        self.state = prune(after, now, self.policy)

    def due(self, name, attempt):
        key = ("retry_scheduled", name, attempt)
        return next(
            (
                event.due_at for event in self.events.values()
                if (event.kind, event.message_id, event.attempt) == key
            ),
            None,
        )  # fmt: skip

    def later(self):
        self.now += SECOND
        return self.now

    @rule(hours=st.sampled_from([1, 2, 5, 24, 25, 30, 80, 400, 31 * 24]))
    def time_passes(self, hours):
        self.now += hours * HOURS

    @rule(minutes=st.integers(1, 20))
    def a_little_time_passes(self, minutes):
        self.now += timedelta(minutes=minutes)

    def can_bounce(self):
        """Return the messages whose last attempt did not softly bounce yet."""
        known = self.model.messages
        return [
            name
            for name in NAMES
            if name not in known or known[name]["bounced"] < known[name]["sent"]
        ]

    def answerable(self):
        """Return the retries that a mailer may answer in a second, the first first."""
        # Mailers answer within the time for which retries are requested.
        messages = self.model.messages
        return [
            (name, attempt) for name, attempt in sorted(self.model.requested)
            if messages[name]["sent"] == attempt - 1
            and self.now + SECOND < messages[name]["first"] + 3 * DAYS
        ]  # fmt: skip

    @precondition(lambda self: self.can_bounce())
    @rule(data=st.data())
    def some_message_softly_bounces(self, data):
        self.softly_bounces(data.draw(st.sampled_from(self.can_bounce())))

    def softly_bounces(self, name):
        at = self.later()
        message = self.model.messages.get(name)
        attempt = message["sent"] if message else 1
        self.feed(bounce("soft", at, name, attempt))
        self.model.bounce_softly(name, at, self.due)

    @rule(length=st.integers(2, 6), hours=st.sampled_from([23, 24, 25]))
    def a_streak_goes_on(self, length, hours):
        for _ in range(length):
            self.now += hours * HOURS
            name = f"s{self.now:%m%d%H%M%S}"
            self.feed(bounce("soft", self.now, name))
            self.model.bounce_softly(name, self.now, self.due)

    @precondition(lambda self: self.answerable())
    @rule(bounces=st.booleans())
    def a_retry_is_answered(self, bounces):
        name, attempt = self.answerable()[0]
        self.feed(message_event("sent", self.later(), name, attempt=attempt))
        self.model.send_again(name, self.now)
        if bounces:
            # Not every provider names the attempt.
            at = self.later()
            self.feed(bounce("soft", at, name, at.second % 2 or attempt))
            self.model.bounce_softly(name, at, self.due)

    @precondition(lambda self: self.can_bounce())
    @rule(data=st.data(), attempts=st.integers(2, 4))
    def every_attempt_bounces(self, data, attempts):
        self.softly_bounces(data.draw(st.sampled_from(self.can_bounce())))
        for _ in range(attempts):
            self.now += 5 * HOURS
            self.ticks()
            if self.answerable():
                self.a_retry_is_answered(bounces=True)

    @precondition(lambda self: self.model.messages)
    @rule(data=st.data())
    def is_delivered(self, data):
        """The policy is not fed this: the log knows."""
        name = data.draw(st.sampled_from(sorted(self.model.messages)))
        self.model.succeed(name, self.later())

    @rule(name=message_ids)
    def bounces_hard(self, name):
        self.feed(bounce("hard", self.later(), name))
        self.model.bounce_hard(name, self.now)

    @rule()
    def complains(self):
        self.feed(message_event("complaint", self.later(), "another"))
        self.model.suppress("complaint", self.now)

    @rule()
    def unsubscribes(self):
        self.feed(message_event("unsubscribe", self.later(), "another"))
        self.model.suppress("unsubscribe", self.now)

    @rule()
    def subscribes_again(self):
        self.feed(message_event("resubscribe", self.later(), "another"))
        self.model.resubscribe(self.now)

    @rule()
    def is_suppressed_by_hand(self):
        self.feed(command("add", self.later()))
        self.model.suppress("by_hand", self.now)

    @rule(confirmed=st.booleans())
    def is_reset(self, confirmed):
        self.feed(command("reset", self.later(), confirmed_complaint=confirmed))
        self.model.reset(self.now, confirmed=confirmed)

    @rule(number=st.integers(0, 3))
    def is_sent_to(self, number):
        name = f"n{number}-{self.later():%m%d%H%M%S}"
        self.feed(message_event("sent", self.now, name))
        self.model.send(name, self.now)

    @rule()
    def ticks(self):
        self.later()
        self.feed(Tick())
        self.model.tick(self.now)

    @rule()
    def the_state_is_stored(self):
        self.snapshots.append((len(self.inputs), self.now, dump_state(self.state)))

    @precondition(lambda self: self.inputs)
    @rule(back=st.integers(1, 10))
    def a_copy_comes(self, back):
        input_, then, lookup = self.inputs[-min(back, len(self.inputs))]
        if self.now - then < 7 * DAYS and not isinstance(input_, Tick):
            last_success_at = self.model.last_success_at
            lookup = LookupResult(last_success_at=last_success_at, finished=lookup.finished)
            self.take(input_, self.now, lookup)

    @rule(back=st.integers(1, 4))
    def a_worker_crashes(self, back):
        place, then, stored = self.snapshots[-min(back, len(self.snapshots))]
        if self.now - then < 7 * DAYS:
            self.state = load_state(stored)
            for record in self.inputs[place:]:
                self.take(*record)

    @invariant()
    def the_address_is_suppressed_as_in_the_model(self):
        assert {reason.rule for reason in self.state.active_reasons} == self.model.rules
        assert self.entry == entry_of(JO, self.state)

    @invariant()
    def every_retry_was_requested_once_and_none_too_many(self):
        requested = {(retry.message_id, retry.attempt) for retry in self.retries.values()}
        assert requested == self.model.requested

    @invariant()
    def the_events_are_those_of_the_model(self):
        events = self.events.values()
        exhausted = {event.message_id for event in events if event.kind == "retry_exhausted"}
        assert exhausted == self.model.exhausted
        refused = {
            (event.message_id, event.attempt, event.kind)
            for event in events if event.kind in {"invalid", "skipped"}
        }  # fmt: skip
        assert refused == self.model.refused

    @invariant()
    def the_state_stays_small(self):
        assert len(dump_state(self.state)) < 30_000


TestPolicyAgainstTheModel = PolicyMachine.TestCase
TestPolicyAgainstTheModel.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None
)
