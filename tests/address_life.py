"""One address under the rules, for tests: give it facts, commands and time; read what it said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from processor.policy.config import Policy
from processor.policy.decide import Heard, State, Tick, decide, forget, wakes_at
from processor.policy.decisions import CommandRefused
from processor.policy.outputs import announce
from processor.policy.state import dump, load
from schemas.addresses import Address
from schemas.decisions import Command
from schemas.events import MessageEvent, fingerprint

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
MINUTES, HOURS, DAYS = (timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))


def fact(kind, at=START, message="m1", *, channel="email", **fields):
    """Return a fact as intake completes it."""
    given = {
        "channel": channel, "kind": kind, "tenant_id": "acme", "message_id": message,
        "recipient": "jo@example.com" if channel == "email" else "+12015550123",
        "occurred_at": at, "recorded_at": at, **fields,
    }  # fmt: skip
    return MessageEvent.model_validate({**given, "event_id": fingerprint(given)})


def bounce(bounce_class="soft", at=START, message="m1", attempt=1, **fields):
    codes = {"soft": (452, "4.2.2"), "hard": (550, "5.1.1"), "block": (554, "5.7.1")}
    smtp, enhanced = codes.get(bounce_class, (None, ""))
    return fact(
        "bounce", at, message, attempt=attempt, bounce_class=bounce_class, smtp_code=smtp,
        enhanced_status=enhanced, **fields,
    )  # fmt: skip


NUMBERS = count()


def command(what, at, *, name=None, channel="email", actor="Kim", reason="asked by phone", **more):
    return Command(
        id=name or f"c{next(NUMBERS)}", command=what, tenant_id="acme", channel=channel,
        address="jo@example.com" if channel == "email" else "+12015550123",
        actor=actor, reason=reason, asked_at=at, **more,
    )  # fmt: skip


class Watched:
    """An address, its state, and all that was published about it."""

    def __init__(self, channel="email", **policy):
        address = "jo@example.com" if channel == "email" else "+12015550123"
        self.whose = Address("acme", channel, address)
        self.policy = Policy(**policy)
        self.state = State()
        self.facts, self.notes = [], []
        self.retries, self.entries, self.answers = [], [], []

    def give(self, event, now=None, **heard):
        """Put an event to the rules; return the kinds of fact, but notes, and retries it led to."""
        now = now or getattr(event, "occurred_at", None) or event.asked_at
        decisions, after = decide(self.state, event, now, self.policy, Heard(**heard))
        said = announce(self.whose, self.state, decisions, after)
        kept = forget(after, now, self.policy)
        assert load(dump(kept)) == kept
        self.state = kept
        self.facts += [each for each in said.facts if each.kind != "note"]
        self.retries += said.retries
        self.entries += [said.entry] if said.entry_changed else []
        self.answers += [each.reason for each in decisions if isinstance(each, CommandRefused)]
        self.notes += [each for each in said.facts if each.kind == "note"]
        return [each.kind for each in said.facts if each.kind != "note"] + [
            f"retry {each.attempt}" for each in said.retries
        ]

    def all(self, *events):
        return [said for event in events for said in self.give(event)]

    def tick(self, now, **heard):
        return self.give(Tick(), now, **heard)

    @property
    def wakes_at(self):
        return wakes_at(self.state, self.policy)

    @property
    def rules(self):
        return [each.rule for each in self.state.standing]
