"""The state of an address: sets of what happened, from which the rules draw.

Sets rather than counters: a copy adds nothing, and what follows from a set follows in any order.
Every set is bounded, by number and by time (`evolve`). `dump` and `load` are its JSON, whose names
are those of the aliases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field, TypeAdapter

from schemas.decisions import SUPPRESSION_RULES, Reason, RuleName

#: The names of the rules, the strongest first.
RULE_NAMES: Final = tuple(SUPPRESSION_RULES)


@dataclass(frozen=True, slots=True)
class MessageState:
    """What is known of the attempts at a message that softly bounced or was sent again.

    `first_at` is the earliest time known of it; `bounces` are the soft ones, by event id, each with
    the attempt that it names and its time; `sent_times` those of attempts after the first.
    `requested_attempt` is the last attempt decided on; `due_at` when it has to be requested, None
    if it has been or need not be; `resent_at` when a person last had one requested. Of a `finished`
    message nothing more is requested by a rule.
    """

    first_at: datetime
    bounces: Mapping[str, tuple[int, datetime]] = field(default_factory=dict)
    sent_times: Annotated[Mapping[int, datetime], Field(alias="sents")] = field(
        default_factory=dict
    )
    requested_attempt: Annotated[int, Field(alias="asked")] = 1
    due_at: datetime | None = None
    reason: str = ""
    finished: Annotated[bool, Field(alias="over")] = False
    resent_at: datetime | None = None

    @property
    def has_requested(self) -> bool:
        """Whether an attempt after the first has been requested."""
        return self.requested_attempt > 1 and self.due_at is None

    @property
    def matters_from(self) -> datetime:
        """From when on it is kept: its earliest time, or when it was last sent by request."""
        return max(self.first_at, self.resent_at or self.first_at)

    @property
    def last_attempt(self) -> int:
        """The last attempt that was made or decided on."""
        return max([self.requested_attempt, *self.sent_times])

    @property
    def last_bounce(self) -> tuple[int, datetime, str] | None:
        """The last attempt that softly bounced, when, and the event that first said so.

        Not every provider names the attempt: it is none before the last one sent until then.
        """
        bounces = [
            (
                max([named, *(n for n, sent_at in self.sent_times.items() if sent_at <= at)]),
                at,
                event_id,
            )
            for event_id, (named, at) in self.bounces.items()
        ]
        return min(bounces, key=lambda bounce: (-bounce[0], *bounce[1:]), default=None)


@dataclass(frozen=True, slots=True)
class AddressState:
    """What is kept of one address of a tenant.

    `reasons` suppress it now, by rule; `ended` are those that did, with their end as `until`. Of a
    rule, events up to its `cleared` time count no more, nor do those whose ids are among
    `applied_ids`, where commands that took effect are too. `streak` are the messages that softly
    bounced in a row, `refusals` those that were refused for good without a cause, with their times,
    all after `streak_from`. `joined` are ids of providers whose events are known as those of their
    messages, with the times of these.
    """

    reasons: Mapping[RuleName, tuple[Reason, ...]] = field(default_factory=dict)
    ended: Annotated[tuple[Reason, ...], Field(alias="past")] = ()
    cleared: Mapping[RuleName, datetime] = field(default_factory=dict)
    applied_ids: Annotated[Mapping[str, datetime], Field(alias="done")] = field(
        default_factory=dict
    )
    streak: Mapping[str, datetime] = field(default_factory=dict)
    refusals: Mapping[str, datetime] = field(default_factory=dict)
    streak_from: datetime | None = None
    messages: Mapping[str, MessageState] = field(default_factory=dict)
    joined: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept of the address."""
        return self == _EMPTY

    @property
    def active_reasons(self) -> tuple[Reason, ...]:
        """Why the address is suppressed, the strongest first, each since its earliest event."""
        return tuple(
            merged_reason(self.reasons[rule]) for rule in RULE_NAMES if rule in self.reasons
        )

    def suppressed_at(self, time: datetime) -> Reason | None:
        """Return the strongest reason for which the address is or was suppressed at a time."""
        reasons = [
            reason for reason in (*self.active_reasons, *self.ended)
            if reason.since < time and (reason.until is None or time < reason.until)
        ]  # fmt: skip
        return min(reasons, key=lambda reason: RULE_NAMES.index(reason.rule), default=None)

    def is_stale(self, rule: RuleName, at: datetime) -> bool:
        """Tell whether events of this time count no more for a rule."""
        return rule in self.cleared and at <= self.cleared[rule]

    def has_applied(self, event_id: str) -> bool:
        """Tell whether an event or command of this id has had its effect."""
        held = (reason.event_id for reasons in self.reasons.values() for reason in reasons)
        return event_id in self.applied_ids or event_id in held


_EMPTY: Final = AddressState()


def merged_reason(reasons: Iterable[Reason]) -> Reason:
    """Return reasons of one rule as one: that of the earliest event, until the latest end."""
    ordered = sorted(reasons, key=lambda reason: (reason.since, reason.event_id))
    ends = [reason.until for reason in ordered if reason.until is not None]
    until = max(ends) if len(ends) == len(ordered) else None
    first = ordered[0]
    return first if first.until == until else first.model_copy(update={"until": until})


_JSON: Final = TypeAdapter(AddressState)


def dump_state(state: AddressState) -> bytes:
    """Return a state as compact JSON: what is as by default is left out."""
    return _JSON.dump_json(state, exclude_defaults=True, by_alias=True)


def load_state(text: bytes | str) -> AddressState:
    """Read what `dump_state` wrote. Raises pydantic's `ValidationError`."""
    return _JSON.validate_json(text)
