"""The laws of the rules: copies, order and crashes, against a model that knows none of them."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from processor.policy.config import Policy
from processor.policy.decide import Heard, State, Tick, decide, evolve, forget
from processor.policy.outputs import announce, entry_of
from processor.policy.state import dump, load
from schemas.addresses import Address
from tests.address_life import DAYS, HOURS, START, bounce, command, fact

JO = Address("acme", "email", "jo@example.com")
SECOND = timedelta(seconds=1)
NOW = START + 400 * HOURS

#: Moments a few hours apart, distinct per fact, so that order is always defined.
moments = st.integers(0, 60)
listing = st.builds(
    lambda kind, hour, message: {
        "hard": lambda at: bounce("hard", at, message),
        "complaint": lambda at: fact("complaint", at, message),
        "echo": lambda at: fact("invalid", at, message, provider="ses"),
        "unsubscribe": lambda at: fact("unsubscribe", at, message),
        "resubscribe": lambda at: fact("resubscribe", at, message),
    }[kind](START + hour * HOURS),
    st.sampled_from(["hard", "complaint", "echo", "unsubscribe", "resubscribe"]),
    moments,
    st.sampled_from(["m1", "m2", "m3"]),
)
soft = st.builds(
    lambda hour, message, attempt: bounce("soft", START + hour * HOURS, message, attempt),
    moments, st.sampled_from(["m1", "m2", "m3"]), st.integers(1, 4),
)  # fmt: skip
resent = st.builds(
    lambda hour, message, attempt: fact("sent", START + hour * HOURS, message, attempt=attempt),
    moments, st.sampled_from(["m1", "m2", "m3"]), st.integers(2, 4),
)  # fmt: skip


def lived(events, policy=None, now=NOW):
    """Return the state after events, and what they led to."""
    policy = policy or Policy()
    state, said = State(), []
    for event in events:
        decisions, after = decide(state, event, now, policy)
        made = state
        for each in decisions:
            made = evolve(made, each)
            assert evolve(made, each) == made
        assert made == after
        said.append(announce(JO, state, decisions, after))
        state = load(dump(forget(after, now, policy)))
    return state, said


@given(st.lists(listing | soft | resent, max_size=12), st.data())
def test_a_copy_that_comes_at_any_later_time_changes_nothing(events, data):
    once, _ = lived(events)
    places = data.draw(st.lists(st.integers(0, max(len(events) - 1, 0)), max_size=8))
    copied = list(events)
    for place in places if events else ():
        later = data.draw(st.integers(copied.index(events[place]) + 1, len(copied)))
        copied.insert(later, events[place])
    twice, said = lived(copied)
    assert twice == once
    ids = [each.event_id for one in said for each in one.facts if each.kind == "suppressed"]
    assert len(ids) == len(set(ids))


@given(st.lists(listing, max_size=7), st.randoms())
def test_what_lists_an_address_may_come_in_any_order(events, random):
    shuffled = list(events)
    random.shuffle(shuffled)
    one, _ = lived(events)
    other, _ = lived(shuffled)
    assert entry_of(JO, one) == entry_of(JO, other)
    assert (one.reasons, one.cleared) == (other.reasons, other.cleared)


@given(st.lists(soft | resent, max_size=7), st.randoms())
def test_attempts_may_be_heard_of_in_any_order(events, random):
    """Of two notices of one attempt the first that comes sets the due time, no more."""
    policy = Policy(blacklists=frozenset(), horizon=timedelta(days=300), retries=5)
    shuffled = list(events)
    random.shuffle(shuffled)
    one, _ = lived(events, policy)
    other, _ = lived(shuffled, policy)
    assert one.messages.keys() == other.messages.keys()
    for name, message in one.messages.items():
        assert message.last_bounce == other.messages[name].last_bounce
        assert message.made == other.messages[name].made
        assert (message.due_at is None) == (other.messages[name].due_at is None)


@given(st.lists(listing, max_size=6), moments, st.lists(listing, max_size=4))
def test_what_happened_before_a_confirmed_reset_lists_no_more_whenever_it_comes(before, hour, more):
    at = START + hour * HOURS
    reset = command("reset", at, confirmed_complaint=True)
    state, _ = lived([*before, reset])
    assume(reset.id in state.done)
    late = [
        each for each in more
        if each.occurred_at <= at and each.kind not in {"unsubscribe", "resubscribe"}
    ]  # fmt: skip
    again, _ = lived([*before, reset, *late])
    assert again.standing == state.standing
    for reason in state.standing:
        assert reason.rule == "unsubscribe" or reason.since > at


@given(st.lists(soft, max_size=12, unique_by=lambda each: each.occurred_at), st.randoms())
def test_soft_bounces_in_another_order_never_count_more(events, random):
    ordered = sorted(events, key=lambda each: each.occurred_at)
    random.shuffle(events)
    policy = Policy(soft_threshold=20)
    inordered, _ = lived(ordered, policy)
    shuffled, _ = lived(events, policy)
    assert len(shuffled.streak) <= longest_streak(events)
    assert len(inordered.streak) <= longest_streak(events)


def longest_streak(events):
    """Return the most messages that can be chosen a day apart, each by any of its bounces."""
    times = sorted({(each.occurred_at, each.message_id) for each in events})

    def most(since, used):
        return max(
            (
                1 + most(at, used | {name})
                for at, name in times
                if name not in used and (since is None or at - since >= DAYS)
            ),
            default=0,
        )

    return most(None, frozenset())


class Model:
    """What must come of events that come once each and in order: counters and flags."""

    SCHEDULE = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=4))

    def __init__(self):
        self.reasons = {}  # rule: the times of what lists it
        self.until = None  # of the soft listing
        self.streak, self.good_at = [], None  # (message, time)
        self.messages = {}
        self.asked, self.exhausted, self.refused = set(), set(), set()

    def message(self, name, now):
        return self.messages.setdefault(
            name,
            {"first": now, "sent": 1, "bounced": 0, "due": None, "over": False, "end": False},
        )

    def expire(self, now):
        if self.until is not None and now >= self.until:
            self.until, self.streak = None, []

    @property
    def rules(self):
        standing = {name for name, times in self.reasons.items() if times}
        return standing | ({"soft_bounces"} if self.until else set())

    @property
    def refusal(self):
        return "skipped" if "unsubscribe" in self.rules else "invalid"

    def lists(self, rule, now):
        self.expire(now)
        self.reasons.setdefault(rule, []).append(now)

    def good(self, name, now):
        self.message(name, now)["over"] = True
        self.good_at = now

    def hard(self, name, now):
        self.lists("hard_bounce", now)
        if self.messages.get(name):
            self.messages[name].update(end=True, due=None)

    def soft(self, name, now, due):
        """A soft bounce of the last attempt made; `due` says when the next one was promised."""
        self.expire(now)
        message = self.message(name, now)
        if self.good_at:
            self.streak = [each for each in self.streak if each[1] > self.good_at]
        counted = {each for each, _ in self.streak}
        if name not in counted and (not self.streak or now - self.streak[-1][1] >= DAYS):
            self.streak.append((name, now))
            if len(self.streak) >= 5:
                self.until = now + 30 * DAYS
        attempt, message["bounced"] = message["sent"], message["sent"]
        if message["over"] or message["end"]:
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

    def answer(self, name, now):
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
            if message["over"]:
                pass
            elif self.rules:
                self.refused.add((name, message["sent"], self.refusal))
                message["end"] = True
            elif now > message["first"] + 3 * DAYS:
                self.exhausted.add(name)
                message["end"] = True
            else:
                self.asked.add((name, message["sent"] + 1))

    def reset(self, now, *, confirmed):
        self.expire(now)
        if self.reasons.get("complaint") and not confirmed:
            return
        stays = self.reasons.get("unsubscribe", [])
        self.reasons, self.until, self.streak = {"unsubscribe": stays}, None, []

    def resubscribe(self, now):
        self.expire(now)
        self.reasons["unsubscribe"] = []


names = st.sampled_from([f"m{n}" for n in range(8)])


class Machine(RuleBasedStateMachine):
    """One address: its records, read again after crashes and with copies, against the model."""

    @initialize()
    def begin(self):
        self.now, self.policy, self.model = START, Policy(), Model()
        self.records = []  # (event, now, heard), as the keyed topic has them
        self.snapshots = [(0, START, dump(State()))]
        self.state, self.entry = State(), None
        self.facts, self.retries = {}, {}

    def publish(self, event):
        known = Heard(
            good_at=self.model.good_at,
            over={name: "over" for name, each in self.model.messages.items() if each["over"]},
        )
        self.records.append((event, self.now, known))
        self.read(*self.records[-1])

    def read(self, event, now, heard):
        decisions, after = decide(self.state, event, now, self.policy, heard)
        said = announce(JO, self.state, decisions, after)
        self.facts |= {each.event_id: each for each in said.facts}
        for each in said.retries:
            assert self.retries.setdefault(each.id, each) == each
            assert each.due_at <= now
        self.entry = said.entry if said.entry_changed else self.entry
        self.state = forget(after, now, self.policy)

    def due(self, name, attempt):
        return next(
            (
                each.due_at for each in self.facts.values()
                if (each.kind, each.message_id, each.attempt) == ("retry_scheduled", name, attempt)
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

    @rule(name=names)
    def softly_bounces(self, name):
        at = self.later()
        message = self.model.messages.get(name)
        attempt = message["sent"] if message else 1
        if message and message["bounced"] == attempt:
            return
        self.publish(bounce("soft", at, name, attempt))
        self.model.soft(name, at, self.due)

    @rule(length=st.integers(2, 6), hours=st.sampled_from([23, 24, 25]))
    def a_streak_goes_on(self, length, hours):
        for _ in range(length):
            self.now += hours * HOURS
            name = f"s{self.now:%m%d%H%M%S}"
            self.publish(bounce("soft", self.now, name))
            self.model.soft(name, self.now, self.due)

    @rule(bounces=st.booleans())
    def a_retry_is_answered(self, bounces):
        for name, attempt in sorted(self.model.asked):
            message, at = self.model.messages[name], self.later()
            # Mailers answer within the time for which retries are asked.
            if message["sent"] == attempt - 1 and at < message["first"] + 3 * DAYS:
                self.publish(fact("sent", at, name, attempt=attempt))
                self.model.answer(name, at)
                if bounces:
                    # Not every provider names the attempt.
                    self.publish(bounce("soft", self.later(), name, at.second % 2 or attempt))
                    self.model.soft(name, self.now, self.due)
                return

    @rule(name=names, attempts=st.integers(2, 4))
    def every_attempt_bounces(self, name, attempts):
        self.softly_bounces(name)
        for _ in range(attempts):
            self.now += 5 * HOURS
            self.ticks()
            self.a_retry_is_answered(bounces=True)

    @rule(name=names)
    def is_delivered(self, name):
        """The rules are not fed this: the log knows."""
        at = self.later()
        if name in self.model.messages:
            self.model.good(name, at)

    @rule(name=names)
    def bounces_hard(self, name):
        self.publish(bounce("hard", self.later(), name))
        self.model.hard(name, self.now)

    @rule()
    def complains(self):
        self.publish(fact("complaint", self.later(), "another"))
        self.model.lists("complaint", self.now)

    @rule()
    def unsubscribes(self):
        self.publish(fact("unsubscribe", self.later(), "another"))
        self.model.lists("unsubscribe", self.now)

    @rule()
    def subscribes_again(self):
        self.publish(fact("resubscribe", self.later(), "another"))
        self.model.resubscribe(self.now)

    @rule()
    def is_listed_by_hand(self):
        self.publish(command("add", self.later()))
        self.model.lists("by_hand", self.now)

    @rule(confirmed=st.booleans())
    def is_reset(self, confirmed):
        self.publish(command("reset", self.later(), confirmed_complaint=confirmed))
        self.model.reset(self.now, confirmed=confirmed)

    @rule(number=st.integers(0, 3))
    def is_sent_to(self, number):
        name = f"n{number}-{self.later():%m%d%H%M%S}"
        self.publish(fact("sent", self.now, name))
        self.model.send(name, self.now)

    @rule()
    def ticks(self):
        self.later()
        self.publish(Tick())
        self.model.tick(self.now)

    @rule()
    def the_state_is_stored(self):
        self.snapshots.append((len(self.records), self.now, dump(self.state)))

    @precondition(lambda self: self.records)
    @rule(back=st.integers(1, 10))
    def a_copy_comes(self, back):
        event, then, heard = self.records[-min(back, len(self.records))]
        if self.now - then < 7 * DAYS and not isinstance(event, Tick):
            self.read(event, self.now, Heard(good_at=self.model.good_at, over=heard.over))

    @rule(back=st.integers(1, 4))
    def a_worker_crashes(self, back):
        place, then, stored = self.snapshots[-min(back, len(self.snapshots))]
        if self.now - then < 7 * DAYS:
            self.state = load(stored)
            for record in self.records[place:]:
                self.read(*record)

    @invariant()
    def the_address_is_listed_as_the_model_says(self):
        assert {each.rule for each in self.state.standing} == self.model.rules
        assert self.entry == entry_of(JO, self.state)

    @invariant()
    def each_retry_was_asked_for_once_and_none_too_many(self):
        assert {(each.message_id, each.attempt) for each in self.retries.values()} == (
            self.model.asked
        )

    @invariant()
    def the_log_has_the_same_facts_as_the_model(self):
        kinds = {"invalid", "skipped"}
        said = self.facts.values()
        exhausted = {each.message_id for each in said if each.kind == "retry_exhausted"}
        assert exhausted == self.model.exhausted
        refused = {
            (each.message_id, each.attempt, each.kind) for each in said if each.kind in kinds
        }
        assert refused == self.model.refused

    @invariant()
    def the_state_stays_small(self):
        assert len(dump(self.state)) < 30_000


TestRulesAgainstTheModel = Machine.TestCase
TestRulesAgainstTheModel.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None
)
