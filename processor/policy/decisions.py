"""What the rules decide, one value per kind of decision.

Some change what is remembered of an address (`trouble.evolve`), some are only said to the world,
some are both (`announcements`). All of it follows from facts and their own times, so that the same
decision, made again after a crash, is equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from schemas.decisions import Change, Reason, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftBounced:
    """A soft bounce is taken note of; with `counts`, as one more of the streak."""

    message_id: str
    event_id: str
    attempt: int
    at: datetime
    first_at: datetime
    reason: str
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreakEnded:
    """Something was delivered, or touched by a person: soft bounces until then do not count."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent:
    """A later attempt was made, which answers the retry that asked for it."""

    message_id: str
    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    """The attempt will be asked for at its due time. `at` is the time of the bounce before it."""

    message_id: str
    attempt: int
    due_at: datetime
    at: datetime
    reason: str
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAsked:
    """The attempt is due: mailers are asked for it."""

    message_id: str
    attempt: int
    due_at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryCancelled:
    """No further attempt is asked for, and why: it arrived, say. `attempt` would have been next."""

    message_id: str
    attempt: int
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriesExhausted:
    """The attempt softly bounced and no other may be made. `at` is the time of the bounce."""

    message_id: str
    attempt: int
    at: datetime
    reason: str
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A send or a retry of a message is void, for the address is listed for this reason."""

    message_id: str
    attempt: int
    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A reason to list the address is taken note of."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """The address is listed, or is for longer or for one more reason than it was."""

    change: Change
    reason: Reason
    at: datetime
    event_id: str
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """Of these rules, facts up to this time count no more."""

    rules: tuple[Rule, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinstated:
    """Reasons ended: they expired, were reset, or the person subscribed again.

    A reset of an address that was not listed yet, but counted, has no reasons.
    """

    change: Change
    reasons: tuple[Reason, ...]
    at: datetime
    actor: str
    why: str
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Obeyed:
    """A command was dealt with: a copy of it must do nothing."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRefused:
    """A command does nothing, and why, for the person who gave it."""

    id: str
    at: datetime
    actor: str
    reason: str


Decision: TypeAlias = (
    SoftBounced | StreakEnded | Resent | RetryScheduled | RetryAsked | RetryCancelled
    | RetriesExhausted | Refused | Noted | Suppressed | Cleared | Reinstated | Obeyed
    | CommandRefused
)  # fmt: skip
