"""What the policy decides, one value per kind of decision.

Some change the state of an address (`evolve`), some are only published, some are both (`outputs`).
All of it follows from events and their own times, so that the same decision, made again after a
crash, is equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from schemas.decisions import EntryChange, Reason, RuleName


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftBounced:
    """A soft bounce is recorded; with `counts`, as one more of the streak."""

    message_id: str
    event_id: str
    attempt: int
    at: datetime
    first_at: datetime
    reason: str
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalCounted:
    """A message, or an event about none (`name`), was refused for good, and nothing says why."""

    name: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageJoined:
    """What is known by a provider's id (`other_id`) is about an attempt at a message."""

    message_id: str
    other_id: str
    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StreakEnded:
    """Something was delivered, or touched by a person: bounces until then do not count."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSent:
    """A later attempt was sent, which answers the retry that was requested."""

    message_id: str
    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    """The attempt will be requested at its due time. `at` is the time of the bounce before it."""

    message_id: str
    attempt: int
    due_at: datetime
    at: datetime
    reason: str
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDue:
    """The attempt is due: mailers are requested to make it."""

    message_id: str
    attempt: int
    due_at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendAccepted:
    """Mailers are requested to make this attempt, as the person asked who gave the command."""

    command_id: str
    message_id: str
    attempt: int
    at: datetime
    actor: str
    reason: str
    record_type: str = ""
    record_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryCancelled:
    """No further attempt is requested, and why: it arrived, say. `attempt` would have been next."""

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
class SendRefused:
    """A send or a retry of a message is void, for the address is suppressed for this reason."""

    message_id: str
    attempt: int
    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonRecorded:
    """A reason to suppress the address is recorded."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """The address is suppressed, or is for longer or for one more reason than it was."""

    change: EntryChange
    reason: Reason
    at: datetime
    event_id: str
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """Of these rules, events up to this time count no more."""

    rules: tuple[RuleName, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinstated:
    """Reasons ended: they expired, were reset, or the person subscribed again.

    A reset of an address that was not suppressed yet, but counted, has no reasons.
    """

    change: EntryChange
    reasons: tuple[Reason, ...]
    at: datetime
    actor: str
    why: str
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandApplied:
    """A command took effect: a copy of it must do nothing."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class EntryRepeated:
    """The entry of the address is published again as it is, also if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRejected:
    """A command does nothing, and why, for the person who gave it; a resend, of which attempt.

    A copy of it must do nothing either, though by then it might.
    """

    id: str
    at: datetime
    actor: str
    reason: str
    message_id: str = ""
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressForgotten:
    """Nothing is kept of the address; the reasons go on to what stands in for it."""

    pseudonym: str
    reasons: tuple[Reason, ...]


Decision: TypeAlias = (
    MessageJoined | SoftBounced | RefusalCounted | StreakEnded | AttemptSent | RetryScheduled
    | RetryDue | ResendAccepted | RetryCancelled | RetriesExhausted | SendRefused | ReasonRecorded
    | Suppressed | Cleared | Reinstated | EntryRepeated | CommandApplied | CommandRejected
    | AddressForgotten
)  # fmt: skip
