"""What of the decisions on an address is published: events, retry requests, and its entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from processor.intake.policy_feed import KeptReasons
from processor.policy.decisions import (
    AddressForgotten,
    CommandRejected,
    Decision,
    EntryRepeated,
    Reinstated,
    ResendAccepted,
    RetriesExhausted,
    RetryCancelled,
    RetryDue,
    RetryScheduled,
    SendRefused,
    Suppressed,
)
from processor.policy.state import AddressState
from schemas.addresses import Address
from schemas.decisions import (
    SUPPRESSION_RULES,
    DecisionEvent,
    Reason,
    ResendRequested,
    RetryRequested,
    RuleName,
    Suppression,
    retry_id,
)
from schemas.events import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What to publish. With `entry_changed`, the entry; a tombstone if that is None.

    `kept` goes to the pseudonyms of addresses that are forgotten.
    """

    events: tuple[DecisionEvent, ...]
    retries: tuple[RetryRequested, ...]
    entry_changed: bool
    entry: Suppression | None
    kept: tuple[KeptReasons, ...] = ()


def to_outputs(
    address: Address,
    before: AddressState,
    decisions: tuple[Decision, ...],
    after: AddressState,
) -> Outputs:
    """Return what decisions that led from one state to another have to be published as."""
    is_repeated = any(isinstance(each, EntryRepeated) for each in decisions)
    reasons_changed = after.reasons != before.reasons
    entry = entry_of(address, after) if reasons_changed or is_repeated else None
    return Outputs(
        events=tuple(event for each in decisions for event in _events(address, each)),
        retries=tuple(
            _retry(address, each)
            for each in decisions
            if isinstance(each, (RetryDue, ResendAccepted))
        ),
        entry_changed=is_repeated or (reasons_changed and entry != entry_of(address, before)),
        entry=entry,
        kept=tuple(
            KeptReasons(
                tenant_id=address.tenant_id, channel=address.channel,
                pseudonym=each.pseudonym, reasons=each.reasons,
            )
            for each in decisions if isinstance(each, AddressForgotten) and each.reasons
        ),
    )  # fmt: skip


def entry_of(address: Address, state: AddressState) -> Suppression | None:
    """Return the current entry of an address, None if it is not suppressed."""
    if not state.active_reasons:
        return None
    strongest, *also = state.active_reasons
    return Suppression(
        **strongest.model_dump(),
        tenant_id=address.tenant_id, channel=address.channel, address=address.address,
        effect=SUPPRESSION_RULES[strongest.rule].effect, also=tuple(also),
    )  # fmt: skip


def reason_text(rule: RuleName, since: datetime, actor: str) -> str:
    """Return how the reason of a decision begins; what was said about it follows a colon."""
    by = f" by {actor}" if rule == "by_hand" else ""
    return f"{SUPPRESSION_RULES[rule].words}{by} on {since:%Y-%m-%d}"


def _retry(address: Address, retry: RetryDue | ResendAccepted) -> RetryRequested:
    fields: dict[str, Any] = {
        "id": retry_id(address, retry.message_id, retry.attempt), "tenant_id": address.tenant_id,
        "channel": address.channel, "message_id": retry.message_id, "recipient": address.address,
        "attempt": retry.attempt, "reason": retry.reason,
    }  # fmt: skip
    if isinstance(retry, RetryDue):
        return RetryRequested(**fields, due_at=retry.due_at)
    return ResendRequested(
        **fields, due_at=retry.at, actor=retry.actor, record_type=retry.record_type,
        record_id=retry.record_id, command_id=retry.command_id,
    )  # fmt: skip


def _events(address: Address, decision: Decision) -> Iterator[DecisionEvent]:
    match decision:
        case RetryScheduled():
            yield _event(
                address, "retry_scheduled", decision.at, decision.message_id,
                attempt=decision.attempt, due_at=decision.due_at, diagnostic=decision.reason,
                cause_event_id=decision.event_id,
            )  # fmt: skip
        case RetriesExhausted():
            yield _event(
                address, "retry_exhausted", decision.at, decision.message_id,
                attempt=decision.attempt, diagnostic=decision.reason,
                cause_event_id=decision.event_id,
            )  # fmt: skip
        case RetryDue():
            # At its due time, whenever it was requested: the same event after a crash.
            yield _event(
                address, "note", decision.due_at, decision.message_id, reason_code="retry_asked",
                attempt=decision.attempt, due_at=decision.due_at, diagnostic=decision.reason,
            )  # fmt: skip
        case RetryCancelled():
            yield _event(
                address, "note", decision.at, decision.message_id, reason_code="retry_cancelled",
                attempt=decision.attempt, diagnostic=decision.reason,
            )  # fmt: skip
        case ResendAccepted() | CommandRejected():
            yield _answer(address, decision)
        case SendRefused(reason=reason):
            kind = SUPPRESSION_RULES[reason.rule].refusal_kinds[address.channel]
            yield _event(
                address, kind, decision.at, decision.message_id, **_cause(reason),
                attempt=decision.attempt, cause_event_id=reason.event_id,
            )  # fmt: skip
        case Suppressed(reason=reason):
            yield _event(
                address, "suppressed", decision.at, decision.message_id, **_cause(reason),
                change=decision.change, tags=[decision.change], until=reason.until,
                actor=reason.actor, cause_event_id=decision.event_id,
            )  # fmt: skip
        case Reinstated():
            yield from _reinstatement(address, decision)
        case _:
            return  # it changes the state, and is nobody else's business


def _answer(address: Address, answer: ResendAccepted | CommandRejected) -> DecisionEvent:
    """Return what somebody hears of their command: a resend by its message, others by the list."""
    if isinstance(answer, ResendAccepted):
        code, command_id, words = "resend_asked", answer.command_id, answer.reason
        words = f"by {answer.actor}: {words}"
    elif answer.message_id:
        code, command_id, words = "resend_refused", answer.id, answer.reason
    else:
        return _event(
            address, "note", answer.at, "", reason_code="command_refused", change="refused",
            tags=["refused"], diagnostic=answer.reason, actor=answer.actor,
            cause_event_id=answer.id,
        )  # fmt: skip
    return _event(
        address, "note", answer.at, answer.message_id, reason_code=code, attempt=answer.attempt,
        diagnostic=words, actor=answer.actor, cause_event_id=command_id,
        # By this the log finds it: events have no cause.
        provider_event_id=command_id,
    )  # fmt: skip


def _reinstatement(address: Address, ended: Reinstated) -> Iterator[DecisionEvent]:
    """Yield an event for each reason that ended; for a reset that only counts anew, a note."""
    for reason in ended.reasons:
        cause = {**_cause(reason), "diagnostic": ended.why}
        yield _event(
            address, "reinstated", ended.at, reason.message_id, **cause,
            change=ended.change, tags=[ended.change], until=ended.at,
            actor=ended.actor, cause_event_id=ended.event_id,
        )  # fmt: skip
    if not ended.reasons:
        yield _event(
            address, "note", ended.at, "", reason_code="streak_reset", change=ended.change,
            tags=[ended.change], diagnostic=ended.why, actor=ended.actor,
            cause_event_id=ended.event_id,
        )  # fmt: skip


def _cause(reason: Reason) -> dict[str, Any]:
    details = f": {reason.reason}" if reason.reason else ""
    return {
        "rule": reason.rule,
        "reason_code": reason.rule,
        "since": reason.since,
        "diagnostic": reason_text(reason.rule, reason.since, reason.actor) + details,
        "rules_version": reason.rules_version,
    }


def _event(
    address: Address, kind: str, at: datetime, message_id: str, **fields: Any
) -> DecisionEvent:
    """Return an event with its fingerprint, the same that intake will compute."""
    content = {
        "channel": address.channel, "kind": kind, "tenant_id": address.tenant_id,
        "message_id": message_id, "recipient": address.address, "occurred_at": at, **fields,
    }  # fmt: skip
    return DecisionEvent.model_validate({**content, "event_id": fingerprint(content)})
