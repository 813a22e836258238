"""One address under the policy, for tests: takes events, commands and time, and keeps outputs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from processor.policy.config import Policy
from processor.policy.decide import decide
from processor.policy.decisions import CommandRejected
from processor.policy.evolve import next_wake_at, prune
from processor.policy.inputs import LookupResult, Tick
from processor.policy.outputs import to_outputs
from processor.policy.state import AddressState, dump_state, load_state
from schemas.addresses import Address
from schemas.decisions import Command
from schemas.events import MessageEvent, fingerprint

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
MINUTES, HOURS, DAYS = (timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))
COMMAND_NUMBERS = count()


def message_event(kind, at=START, message="m1", *, channel="email", **more):
    """Return an event as intake completes it."""
    fields = {
        "channel": channel, "kind": kind, "tenant_id": "acme", "message_id": message,
        "recipient": "jo@example.com" if channel == "email" else "+12015550123",
        "occurred_at": at, "recorded_at": at, **more,
    }  # fmt: skip
    return MessageEvent.model_validate({**fields, "event_id": fingerprint(fields)})


def bounce(bounce_class="soft", at=START, message="m1", attempt=1, **fields):
    codes = {"soft": (452, "4.2.2"), "hard": (550, "5.1.1"), "block": (554, "5.7.1")}
    smtp, enhanced = codes.get(bounce_class, (None, ""))
    return message_event(
        "bounce", at, message, attempt=attempt, bounce_class=bounce_class, smtp_code=smtp,
        enhanced_status=enhanced, **fields,
    )  # fmt: skip


def command(what, at, *, id=None, channel="email", actor="Kim", reason="asked by phone", **more):
    return Command(
        id=id or f"c{next(COMMAND_NUMBERS)}", command=what, tenant_id="acme", channel=channel,
        address="jo@example.com" if channel == "email" else "+12015550123",
        actor=actor, reason=reason, requested_at=at, **more,
    )  # fmt: skip


class AddressLife:
    """An address, its state, and all that was published about it."""

    def __init__(self, channel="email", **policy):
        address = "jo@example.com" if channel == "email" else "+12015550123"
        self.address = Address("acme", channel, address)
        self.policy = Policy(**policy)
        self.state = AddressState()
        self.events, self.notes = [], []
        self.retries, self.entries, self.rejections = [], [], []

    def take(self, input_, now=None, **lookup):
        """Put an input to the policy; return the kinds of events and the retries it led to.

        Notes are kept apart, and not returned.
        """
        now = now or getattr(input_, "occurred_at", None) or input_.requested_at
        decisions, after = decide(self.state, input_, now, self.policy, LookupResult(**lookup))
        outputs = to_outputs(self.address, self.state, decisions, after)
        pruned = prune(after, now, self.policy)
        assert load_state(dump_state(pruned)) == pruned
        self.state = pruned
        events = [event for event in outputs.events if event.kind != "note"]
        self.events += events
        self.notes += [event for event in outputs.events if event.kind == "note"]
        self.retries += outputs.retries
        self.entries += [outputs.entry] if outputs.entry_changed else []
        self.rejections += [each.reason for each in decisions if isinstance(each, CommandRejected)]
        return [event.kind for event in events] + [
            f"retry {retry.attempt}" for retry in outputs.retries
        ]

    def take_all(self, *inputs):
        return [output for input_ in inputs for output in self.take(input_)]

    def tick(self, now, **lookup):
        return self.take(Tick(), now, **lookup)

    @property
    def next_wake_at(self):
        return next_wake_at(self.state, self.policy)

    @property
    def rules(self):
        return [reason.rule for reason in self.state.active_reasons]
