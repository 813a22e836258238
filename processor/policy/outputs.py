"""What of the decisions on an address is published: facts, retries, and its entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from processor.policy.decisions import (
    CommandRefused,
    Decision,
    Refused,
    Reinstated,
    RetriesExhausted,
    RetryAsked,
    RetryCancelled,
    RetryScheduled,
    Suppressed,
)
from processor.policy.state import State
from schemas.addresses import Address
from schemas.decisions import (
    DecisionFact,
    Effect,
    Reason,
    RetryRequested,
    Rule,
    Suppression,
    retry_id,
)
from schemas.events import Channel, fingerprint

#: What becomes of a later send, by the rule that stands.
EFFECTS: Final[Mapping[Rule, Effect]] = {"unsubscribe": "skipped"}
#: The kind of fact that refuses a send; in the log it is Invalid, Skipped, or for SMS Failed.
REFUSALS: Final[Mapping[tuple[Channel, Rule], str]] = {
    ("email", "unsubscribe"): "skipped",
    ("sms", "opt_out"): "opt_out",
}
REFUSAL: Final[Mapping[Channel, str]] = {"email": "invalid", "sms": "failed"}
#: The rules in the words of a status reason.
_WORDS: Final[Mapping[Rule, str]] = {
    "unsubscribe": "unsubscribed",
    "complaint": "reported as spam",
    "hard_bounce": "hard bounce",
    "opt_out": "opted out",
    "echo": "on the provider's own list",
    "by_hand": "listed by hand",
    "soft_bounces": "soft bounces",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What to publish. With `entry_changed`, the entry; a tombstone if that is None."""

    facts: tuple[DecisionFact, ...]
    retries: tuple[RetryRequested, ...]
    entry_changed: bool
    entry: Suppression | None


def announce(
    whose: Address, before: State, decisions: tuple[Decision, ...], after: State
) -> Announcement:
    """Return what decisions that led from one state to another have to be published as."""
    moved = after.reasons != before.reasons
    entry = entry_of(whose, after) if moved else None
    return Announcement(
        facts=tuple(fact for each in decisions for fact in _facts(whose, each)),
        retries=tuple(_retry(whose, each) for each in decisions if isinstance(each, RetryAsked)),
        entry_changed=moved and entry != entry_of(whose, before),
        entry=entry,
    )


def entry_of(whose: Address, state: State) -> Suppression | None:
    """Return the current entry of an address, None if it is not listed."""
    if not state.standing:
        return None
    strongest, *also = state.standing
    return Suppression(
        **strongest.model_dump(),
        tenant_id=whose.tenant_id, channel=whose.channel, address=whose.address,
        effect=EFFECTS.get(strongest.rule, "invalid"), also=tuple(also),
    )  # fmt: skip


def _retry(whose: Address, asked: RetryAsked) -> RetryRequested:
    return RetryRequested(
        id=retry_id(whose, asked.message_id, asked.attempt),
        tenant_id=whose.tenant_id, channel=whose.channel, message_id=asked.message_id,
        recipient=whose.address, attempt=asked.attempt, reason=asked.reason, due_at=asked.due_at,
    )  # fmt: skip


def _facts(whose: Address, decision: Decision) -> Iterator[DecisionFact]:
    match decision:
        case RetryScheduled():
            yield _fact(
                whose, "retry_scheduled", decision.at, decision.message_id,
                attempt=decision.attempt, due_at=decision.due_at, diagnostic=decision.reason,
                cause_event_id=decision.event_id,
            )  # fmt: skip
        case RetriesExhausted():
            yield _fact(
                whose, "retry_exhausted", decision.at, decision.message_id,
                attempt=decision.attempt, diagnostic=decision.reason,
                cause_event_id=decision.event_id,
            )  # fmt: skip
        case RetryAsked():
            # Of its due time, whenever it was asked for: the same fact after a crash.
            yield _fact(
                whose, "note", decision.due_at, decision.message_id, reason_code="retry_asked",
                attempt=decision.attempt, due_at=decision.due_at, diagnostic=decision.reason,
            )  # fmt: skip
        case RetryCancelled():
            yield _fact(
                whose, "note", decision.at, decision.message_id, reason_code="retry_cancelled",
                attempt=decision.attempt, diagnostic=decision.reason,
            )  # fmt: skip
        case CommandRefused():
            yield _fact(
                whose, "note", decision.at, "", reason_code="command_refused", change="refused",
                tags=["refused"], diagnostic=decision.reason, actor=decision.actor,
                cause_event_id=decision.id,
            )  # fmt: skip
        case Refused(reason=reason):
            kind = REFUSALS.get((whose.channel, reason.rule), REFUSAL[whose.channel])
            yield _fact(
                whose, kind, decision.at, decision.message_id, **_why(reason),
                attempt=decision.attempt, cause_event_id=reason.event_id,
            )  # fmt: skip
        case Suppressed(reason=reason):
            yield _fact(
                whose, "suppressed", decision.at, decision.message_id, **_why(reason),
                change=decision.change, tags=[decision.change], until=reason.until,
                actor=reason.actor, cause_event_id=decision.event_id,
            )  # fmt: skip
        case Reinstated():
            yield from _reinstatement(whose, decision)
        case _:
            return  # it changes what is remembered, and is nobody else's business


def _reinstatement(whose: Address, ended: Reinstated) -> Iterator[DecisionFact]:
    """Yield a line of history per rule that ended; of a reset that only counts anew, a note."""
    for reason in ended.reasons:
        told = {**_why(reason), "diagnostic": ended.why}
        yield _fact(
            whose, "reinstated", ended.at, reason.message_id, **told,
            change=ended.change, tags=[ended.change], until=ended.at,
            actor=ended.actor, cause_event_id=ended.event_id,
        )  # fmt: skip
    if not ended.reasons:
        yield _fact(
            whose, "note", ended.at, "", reason_code="streak_reset", change=ended.change,
            tags=[ended.change], diagnostic=ended.why, actor=ended.actor,
            cause_event_id=ended.event_id,
        )  # fmt: skip


def _why(reason: Reason) -> dict[str, Any]:
    said = f": {reason.reason}" if reason.reason else ""
    return {
        "rule": reason.rule,
        "reason_code": reason.rule,
        "since": reason.since,
        "diagnostic": cause(reason.rule, reason.since, reason.actor) + said,
        "rules_version": reason.rules_version,
    }


def cause(rule: Rule, since: datetime, actor: str) -> str:
    """Return how the reason of a decision begins; what was said about it follows a colon."""
    by = f" by {actor}" if rule == "by_hand" else ""
    return f"{_WORDS[rule]}{by} on {since:%Y-%m-%d}"


def _fact(whose: Address, kind: str, at: datetime, message_id: str, **fields: Any) -> DecisionFact:
    """Return a fact with its fingerprint, the same that intake will compute."""
    known = {
        "channel": whose.channel, "kind": kind, "tenant_id": whose.tenant_id,
        "message_id": message_id, "recipient": whose.address, "occurred_at": at, **fields,
    }  # fmt: skip
    return DecisionFact.model_validate({**known, "event_id": fingerprint(known)})
