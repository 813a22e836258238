"""How decisions change the state of an address, what of it is pruned, and when it next wakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, assert_never

from processor.policy.config import Policy
from processor.policy.decisions import (
    AddressForgotten,
    AttemptSent,
    Cleared,
    CommandApplied,
    CommandRejected,
    Decision,
    EntryRepeated,
    MessageJoined,
    ReasonRecorded,
    RefusalCounted,
    Reinstated,
    ResendAccepted,
    RetriesExhausted,
    RetryCancelled,
    RetryDue,
    RetryScheduled,
    SendRefused,
    SoftBounced,
    StreakEnded,
    Suppressed,
)
from processor.policy.state import AddressState, MessageState, merged_reason
from schemas.decisions import Reason, RuleName

#: For so long copies and latecomers are expected: what topics keep, and providers try again.
REDELIVERY_PERIOD: Final = timedelta(days=7)
#: For so long reasons that ended are kept, and the ids of what was cleared or applied.
HISTORY_PERIOD: Final = timedelta(days=30)
#: For so long a soft bounce counts that no other and no delivery followed.
STREAK_PERIOD: Final = timedelta(days=180)
#: For so long a refusal without a cause counts.
REFUSAL_PERIOD: Final = timedelta(days=30)
#: Rules that count what happens in a row.
COUNTING_RULES: Final[frozenset[RuleName]] = frozenset({"soft_bounces", "refusals"})
#: How many of each set are kept, the newest.
MAX_SET_ITEMS: Final = 32
MAX_REASONS: Final = 8

K = TypeVar("K")
V = TypeVar("V")


def evolve(state: AddressState, decision: Decision) -> AddressState:
    """Return the state after a decision; the same one again changes nothing."""
    match decision:
        case MessageJoined():
            after = _joined(state, decision)
        case SoftBounced():
            after = _bounced(state, decision)
        case (
            AttemptSent() | RetryScheduled() | RetryDue() | RetryCancelled() | RetriesExhausted()
            | ResendAccepted()
        ):  # fmt: skip
            after = _attempted(state, decision)
        case RefusalCounted() | CommandApplied() | CommandRejected():
            after = _counted(state, decision)
        case StreakEnded(at=at):
            after = replace(
                state,
                streak=_later(state.streak, at),
                refusals=_later(state.refusals, at),
                streak_from=max(at, state.streak_from or at),
            )
        case ReasonRecorded(reason=reason):
            held = {each.event_id: each for each in state.reasons.get(reason.rule, ())}
            kept = _first_and_newest({**held, reason.event_id: reason}.values())
            after = replace(state, reasons={**state.reasons, reason.rule: kept})
        case Cleared(rules=rules, at=at):
            after = _cleared(state, rules, at)
        case AddressForgotten():
            after = AddressState()
        case SendRefused() | Suppressed() | Reinstated() | EntryRepeated():
            after = state
        case _:
            assert_never(decision)
    return after


def _counted(
    state: AddressState, decision: RefusalCounted | CommandApplied | CommandRejected
) -> AddressState:
    if isinstance(decision, RefusalCounted):
        refusals = {**state.refusals, decision.name: decision.at}
        return replace(state, refusals=_newest(refusals, MAX_SET_ITEMS, _itself))
    applied_ids = {**state.applied_ids, decision.id: decision.at}
    return replace(state, applied_ids=_newest(applied_ids, MAX_SET_ITEMS, _itself))


def _joined(state: AddressState, joined: MessageJoined) -> AddressState:
    """Forget a message whose events come again by another id, but not what was requested for it.

    By a provider's id, which names one attempt, the attempt after that was requested.
    """
    other_id = joined.other_id
    known = state.messages.get(other_id)
    state = replace(
        state,
        streak=_without(state.streak, other_id),
        refusals=_without(state.refusals, other_id),
        messages=_without(state.messages, other_id),
        joined=_newest({**state.joined, other_id: joined.at}, MAX_SET_ITEMS, _itself),
    )
    if known is None or not (known.finished or known.has_requested):
        return state
    message = state.messages.get(joined.message_id, MessageState(first_at=known.first_at))
    after = replace(
        message,
        first_at=min(message.first_at, known.first_at),
        finished=message.finished or known.finished,
    )
    if known.has_requested:
        requested = max(known.requested_attempt, joined.attempt + 1)
        if requested >= after.requested_attempt:
            after = replace(after, requested_attempt=requested, due_at=None)
    return _with_message(state, joined.message_id, after)


def _attempted(
    state: AddressState,
    decision: AttemptSent | RetryScheduled | RetryDue | RetryCancelled | RetriesExhausted
    | ResendAccepted,
) -> AddressState:  # fmt: skip
    match decision:
        case AttemptSent(message_id=name, attempt=attempt, at=at):
            known = state.messages.get(name, MessageState(first_at=at))
            sent_at = min(at, known.sent_times.get(attempt, at))
            sent_times = _newest({**known.sent_times, attempt: sent_at}, MAX_SET_ITEMS, _itself)
            due_at = None if attempt >= known.requested_attempt else known.due_at
            after = replace(known, sent_times=sent_times, due_at=due_at)
        case RetryScheduled(message_id=name, attempt=attempt, due_at=due_at):
            after = replace(state.messages[name], requested_attempt=attempt, due_at=due_at)
        case ResendAccepted(message_id=name, attempt=attempt, at=at):
            known = state.messages.get(name, MessageState(first_at=at))
            after = replace(known, requested_attempt=attempt, due_at=None, resent_at=at)
        case RetryDue(message_id=name):
            after = replace(state.messages[name], due_at=None)
        case RetryCancelled(message_id=name) | RetriesExhausted(message_id=name):
            after = replace(state.messages[name], due_at=None, finished=True)
    return _with_message(state, name, after)


def _bounced(state: AddressState, bounce: SoftBounced) -> AddressState:
    if bounce.message_id:
        known = state.messages.get(bounce.message_id, MessageState(first_at=bounce.first_at))
        bounces = {**known.bounces, bounce.event_id: (bounce.attempt, bounce.at)}
        after = replace(
            known,
            bounces=_newest(bounces, MAX_SET_ITEMS, lambda value: value[1]),
            first_at=min(known.first_at, bounce.first_at),
            reason=bounce.reason,
        )
        state = _with_message(state, bounce.message_id, after)
    if bounce.counts:
        streak = {**state.streak, bounce.message_id or bounce.event_id: bounce.at}
        state = replace(state, streak=_newest(streak, MAX_SET_ITEMS, _itself))
    return state


def _with_message(state: AddressState, message_id: str, message: MessageState) -> AddressState:
    """Return the state with a message; one whose retry is waiting is never crowded out."""
    messages = {**state.messages, message_id: message}
    waiting = sum(each.due_at is not None for each in messages.values())
    kept = _newest(
        messages,
        MAX_SET_ITEMS + waiting,
        lambda value: (value.due_at is not None, value.matters_from),
    )
    return replace(state, messages=kept)


def _cleared(state: AddressState, rules: tuple[RuleName, ...], at: datetime) -> AddressState:
    """Move what counts no more out of the reasons, to those that ended and the applied ids."""
    reasons, ended, applied_ids = dict(state.reasons), list(state.ended), dict(state.applied_ids)
    for rule in rules:
        held = reasons.pop(rule, ())
        gone = [reason for reason in held if reason.since <= at]
        if left := tuple(reason for reason in held if reason.since > at):
            reasons[rule] = left
        if gone:
            whole = merged_reason(gone)
            until = at if whole.until is None else min(at, whole.until)
            ended.append(whole.model_copy(update={"until": until}))
            applied_ids |= {reason.event_id: at for reason in gone}
    cleared = {rule: max(at, state.cleared.get(rule, at)) for rule in rules}
    after = replace(
        state,
        reasons=reasons,
        ended=tuple(sorted(ended, key=lambda each: (each.until or at, each.rule))[-MAX_REASONS:]),
        cleared={**state.cleared, **cleared},
        applied_ids=_newest(applied_ids, MAX_SET_ITEMS, _itself),
    )
    return after if COUNTING_RULES.isdisjoint(rules) else evolve(after, StreakEnded(at=at))


def _without(items: Mapping[str, V], name: str) -> Mapping[str, V]:
    return {key: value for key, value in items.items() if key != name}


def _later(times: Mapping[str, datetime], at: datetime) -> Mapping[str, datetime]:
    return {name: when for name, when in times.items() if when > at}


def _itself(at: datetime) -> datetime:
    return at


def _newest(items: Mapping[K, V], limit: int, age: Callable[[V], Any]) -> Mapping[K, V]:
    """Return at most so many items, the newest by `age`."""
    if len(items) <= limit:
        return items
    return dict(sorted(items.items(), key=lambda item: age(item[1]))[-limit:])


def _first_and_newest(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return reasons in order of time; of many, the first and the newest."""
    ordered = sorted(reasons, key=lambda reason: (reason.since, reason.event_id))
    return (*ordered[:1], *ordered[1:][-MAX_REASONS:])


def prune(state: AddressState, now: datetime, policy: Policy) -> AddressState:
    """Return the state without what no longer matters; what is left decides the same.

    A reset or a new subscription is never pruned: a copy of what it cleared may come at any time.
    """
    message_period = policy.horizon + REDELIVERY_PERIOD
    streak_from = state.streak_from
    return AddressState(
        reasons=state.reasons,
        ended=tuple(
            each for each in state.ended if each.until and each.until + HISTORY_PERIOD > now
        ),
        cleared={
            rule: at for rule, at in state.cleared.items()
            if rule not in COUNTING_RULES or at + HISTORY_PERIOD > now
        },
        applied_ids={
            name: at for name, at in state.applied_ids.items() if at + HISTORY_PERIOD > now
        },
        streak=_later(state.streak, now - STREAK_PERIOD),
        refusals=_later(state.refusals, now - REFUSAL_PERIOD),
        streak_from=streak_from if streak_from and streak_from + HISTORY_PERIOD > now else None,
        messages={
            name: each for name, each in state.messages.items()
            if each.due_at is not None or each.matters_from + message_period > now
        },
        joined=_later(state.joined, now - message_period),
    )  # fmt: skip


def next_wake_at(state: AddressState, policy: Policy) -> datetime | None:
    """Return when time alone next changes something: a retry due, an expiry, something to prune.

    None: never. At that time decide on a `Tick`, then `prune`.
    """
    message_period = policy.horizon + REDELIVERY_PERIOD
    cleared = [state.cleared[rule] for rule in COUNTING_RULES if rule in state.cleared]
    times = [
        *(each.due_at or each.matters_from + message_period for each in state.messages.values()),
        *(at + message_period for at in state.joined.values()),
        *(reason.until for reason in state.active_reasons if reason.until),
        *(reason.until + HISTORY_PERIOD for reason in state.ended if reason.until),
        *(at + HISTORY_PERIOD for at in state.applied_ids.values()),
        *(at + STREAK_PERIOD for at in state.streak.values()),
        *(at + REFUSAL_PERIOD for at in state.refusals.values()),
        *(at + HISTORY_PERIOD for at in (state.streak_from, *cleared) if at),
    ]
    return min(times, default=None)
