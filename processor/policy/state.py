"""What is remembered of an address with trouble: sets of facts, from which the rules draw.

Sets rather than counters: a copy adds nothing, and what follows from a set follows in any order.
Every set is bounded, by number and by time (`remembering`), so that a state is a small value in a
table; `dump` and `load` are its JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, get_args

from pydantic import TypeAdapter

from schemas.decisions import Reason, Rule

#: The strongest first.
RULES: Final[tuple[Rule, ...]] = get_args(Rule)


@dataclass(frozen=True, slots=True)
class Message:
    """What is known of the attempts at a message that softly bounced or was sent again.

    `first_at` is the earliest time known of it; `bounces` are the soft ones, by event id, each with
    the attempt that it names and its time; `sents` the times of attempts after the first. `asked`
    is the last attempt decided on; `due_at` when it has to be asked for, None if it has been or
    need not be. Of a message that is `over` nothing more is asked.
    """

    first_at: datetime
    bounces: Mapping[str, tuple[int, datetime]] = field(default_factory=dict)
    sents: Mapping[int, datetime] = field(default_factory=dict)
    asked: int = 1
    due_at: datetime | None = None
    reason: str = ""
    over: bool = False

    @property
    def made(self) -> int:
        """The last attempt that was made or decided on."""
        return max([self.asked, *self.sents])

    @property
    def last_bounce(self) -> tuple[int, datetime, str] | None:
        """The last attempt that softly bounced, when, and the event that first said so.

        Not every provider names the attempt: it is none before the last one sent until then.
        """
        found = [
            (max([said, *(n for n, sent_at in self.sents.items() if sent_at <= at)]), at, event_id)
            for event_id, (said, at) in self.bounces.items()
        ]
        return min(found, key=lambda each: (-each[0], *each[1:]), default=None)


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered of one address of a tenant.

    `reasons` list it now, by rule; `past` are listings that ended, with their end as `until`. Of a
    rule, facts up to its `cleared` time count no more, nor do those whose ids are in `done`, where
    obeyed commands are too. `streak` are the messages that softly bounced in a row, with their
    times, all after `streak_from`.
    """

    reasons: Mapping[Rule, tuple[Reason, ...]] = field(default_factory=dict)
    past: tuple[Reason, ...] = ()
    cleared: Mapping[Rule, datetime] = field(default_factory=dict)
    done: Mapping[str, datetime] = field(default_factory=dict)
    streak: Mapping[str, datetime] = field(default_factory=dict)
    streak_from: datetime | None = None
    messages: Mapping[str, Message] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered: a table needs no entry."""
        return self == _NOTHING

    @property
    def standing(self) -> tuple[Reason, ...]:
        """Why the address is listed, the strongest first, each since its earliest fact."""
        return tuple(joined(self.reasons[rule]) for rule in RULES if rule in self.reasons)

    def listed_at(self, time: datetime) -> Reason | None:
        """Return the strongest reason for which the address is or was listed at a time."""
        holding = [
            each for each in (*self.standing, *self.past)
            if each.since < time and (each.until is None or time < each.until)
        ]  # fmt: skip
        return min(holding, key=lambda each: RULES.index(each.rule), default=None)

    def is_stale(self, rule: Rule, at: datetime) -> bool:
        """Tell whether facts of this time count no more for a rule."""
        return rule in self.cleared and at <= self.cleared[rule]

    def has_done(self, name: str) -> bool:
        """Tell whether a fact or command of this id has had its effect."""
        held = (each.event_id for reasons in self.reasons.values() for each in reasons)
        return name in self.done or name in held


_NOTHING: Final = State()


def joined(reasons: Iterable[Reason]) -> Reason:
    """Return reasons of one rule as one: that of the earliest fact, until the latest end."""
    ordered = sorted(reasons, key=lambda each: (each.since, each.event_id))
    ends = [each.until for each in ordered if each.until is not None]
    until = max(ends) if len(ends) == len(ordered) else None
    first = ordered[0]
    return first if first.until == until else first.model_copy(update={"until": until})


_JSON: Final = TypeAdapter(State)


def dump(state: State) -> bytes:
    """Return a state as compact JSON: what is as by default is left out."""
    return _JSON.dump_json(state, exclude_defaults=True)


def load(text: bytes | str) -> State:
    """Read what `dump` wrote. Raises pydantic's `ValidationError`."""
    return _JSON.validate_json(text)
