"""Rules of suppression: what suppresses an address, what ends that, and which sends are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from processor.intake.policy_feed import Forget, KeptReasons
from processor.policy.decisions import (
    AddressForgotten,
    Cleared,
    CommandApplied,
    CommandRejected,
    Decision,
    EntryRepeated,
    ReasonRecorded,
    RefusalCounted,
    Reinstated,
    SendRefused,
    StreakEnded,
    Suppressed,
)
from processor.policy.evolve import REFUSAL_PERIOD, STREAK_PERIOD, evolve
from processor.policy.inputs import Context, failure_in_words
from processor.policy.state import RULE_NAMES, AddressState, merged_reason
from schemas.decisions import RULE_ACTOR, SUPPRESSION_RULES, Command, Reason, RuleName
from schemas.events import MessageEvent, is_success, is_unexplained_refusal, milliseconds
from schemas.resets import RULE_RESETS

#: Which events suppress an address, by the rule.
EVENT_RULES: Final[Mapping[RuleName, Callable[[MessageEvent], bool]]] = {
    "hard_bounce": lambda event: event.kind == "bounce" and event.bounce_class == "hard",
    # "not-spam": somebody took the complaint back.
    "complaint": lambda event: (
        event.kind == "complaint" and event.reason_code.lower() != "not-spam"
    ),
    "opt_out": lambda event: event.kind == "opt_out" and event.channel == "sms",
    # Of a mailer it is no echo but its own refusal, perhaps by an entry that is out of date.
    "echo": lambda event: event.kind == "invalid" and event.provider != "",
    "unsubscribe": lambda event: event.kind == "unsubscribe",
}
#: Rules that a policy cannot leave out.
_MANDATORY: Final = {name for name, rule in SUPPRESSION_RULES.items() if not rule.choosable}
#: What a reset lifts by itself, and what only if that was confirmed.
_RESET_ALWAYS: Final = tuple(name for name, reset in RULE_RESETS.items() if reset.by == "staff")
_RESET_CONFIRMED: Final = tuple(
    name for name, reset in RULE_RESETS.items() if reset.by == "confirmed"
)
#: Soft bounces of a streak are so far apart, at least.
MIN_STREAK_GAP: Final = timedelta(days=1)


def suppress(event: MessageEvent, context: Context, state: AddressState) -> Iterator[Decision]:
    """Suppress the address, by the rule that the event is one for."""
    for rule, holds in EVENT_RULES.items():
        if holds(event):
            reason = _reason(event, rule, failure_in_words(event), context, context.at)
            if not _is_held_by_other_id(event, reason, state):
                yield from _recorded(reason, context, state)


def _is_held_by_other_id(event: MessageEvent, reason: Reason, state: AddressState) -> bool:
    """Tell whether a reason was recorded of the same event, under the id that it came by."""
    held = state.reasons.get(reason.rule, ())
    return bool(event.other_id) and any(
        (each.message_id, each.since) == (event.other_id, reason.since) for each in held
    )


def counts_in_streak(event: MessageEvent, context: Context, state: AddressState) -> bool:
    """Tell whether a soft bounce is one more of a streak: a message counts once, a day at most one.

    A bounce of no known message counts for itself.
    """
    return (
        (event.message_id or event.event_id) not in state.streak
        and _is_after_success(context, state)
        and all(abs(context.at - at) >= MIN_STREAK_GAP for at in state.streak.values())
        and context.at + STREAK_PERIOD > context.now
    )


def suppress_for_streak(
    event: MessageEvent, context: Context, state: AddressState
) -> Iterator[Decision]:
    """Suppress the address for some time if this soft bounce, just counted, completes a streak."""
    policy = context.policy
    if len(state.streak) >= policy.soft_threshold:
        since = max(state.streak.values())
        words = f"{policy.soft_threshold} messages in a row softly bounced: "
        yield from _recorded_until(
            since + policy.soft_expiry, "soft_bounces", words, since, event, context, state
        )


def count_refusal(event: MessageEvent, context: Context, state: AddressState) -> Iterator[Decision]:
    """Count a refusal without a cause, a message once; suppress the address after some in a row."""
    policy, name = context.policy, event.message_id or event.event_id
    if (
        policy.refusal_threshold == 0
        or not is_unexplained_refusal(event)
        or name in state.refusals
        or context.at + REFUSAL_PERIOD <= context.now
        or not _is_after_success(context, state)
    ):
        return
    counted = RefusalCounted(name=name, at=context.at)
    yield counted
    state = evolve(state, counted)
    since = max(state.refusals.values())
    recent = [at for at in state.refusals.values() if at > since - REFUSAL_PERIOD]
    if len(recent) >= policy.refusal_threshold:
        words = f"{policy.refusal_threshold} messages in a row were refused: "
        yield from _recorded_until(
            since + policy.refusal_expiry, "refusals", words, since, event, context, state
        )


def _is_after_success(context: Context, state: AddressState) -> bool:
    """Tell whether an event is later than all that is known to have ended a row of bounces."""
    ends = (state.streak_from, context.lookup.last_success_at)
    return all(at < context.at for at in ends if at)


def _recorded_until(
    until: datetime, rule: RuleName, words: str, since: datetime, event: MessageEvent,
    context: Context, state: AddressState,
) -> Iterator[Decision]:  # fmt: skip
    """Record a reason that ends by itself, unless it has ended by now."""
    if until > context.now:
        words += failure_in_words(event)
        yield from _recorded(_reason(event, rule, words, context, since, until), context, state)


def _reason(
    event: MessageEvent, rule: RuleName, words: str, context: Context, since: datetime,
    until: datetime | None = None,
) -> Reason:  # fmt: skip
    return Reason(
        rule=rule, since=since, until=until, event_id=event.event_id, message_id=event.message_id,
        reason=words, rules_version=context.policy.rules_version,
    )  # fmt: skip


def _recorded(reason: Reason, context: Context, state: AddressState) -> Iterator[Decision]:
    """Record a reason, and say so if that changes why or for how long it is suppressed."""
    if state.is_stale(reason.rule, reason.since) or state.has_applied(reason.event_id):
        return
    if reason.rule not in _MANDATORY | context.policy.blacklists:
        return
    held = state.reasons.get(reason.rule, ())
    yield ReasonRecorded(reason=reason)
    merged = merged_reason([*held, reason])
    if not held or merged != merged_reason(held):
        yield Suppressed(
            change="extended" if state.reasons else "added", reason=merged, at=context.at,
            event_id=reason.event_id, message_id=reason.message_id,
        )  # fmt: skip


def refuse_send(event: MessageEvent, context: Context, state: AddressState) -> Iterator[Decision]:
    """Refuse a send to an address that was suppressed at that time."""
    if event.kind != "sent" or not event.message_id:
        return
    reason = state.suppressed_at(context.at)
    if reason is None or (reason.message_id == event.message_id and event.attempt <= 1):
        return  # what suppressed the address was sent before it was, whatever the clocks say
    yield SendRefused(
        message_id=event.message_id, attempt=event.attempt, at=context.at, reason=reason
    )


def end_streak(event: MessageEvent, context: Context, state: AddressState) -> Iterator[Decision]:
    """End bounces in a row: something was delivered, or touched by a person, as the log knows."""
    successes = [at for at in (context.lookup.last_success_at,) if at]
    successes += [context.at] if is_success(event) else []
    if successes and _counts_any(state, max(successes)):
        yield StreakEnded(at=max(successes))


def _counts_any(state: AddressState, at: datetime) -> bool:
    """Tell whether bounces in a row were counted until a time."""
    return any(when <= at for when in (*state.streak.values(), *state.refusals.values()))


def resubscribe(event: MessageEvent, context: Context, state: AddressState) -> Iterator[Decision]:
    """End an unsubscribe, and nothing else: the person wants emails again."""
    if event.kind == "resubscribe" and not state.is_stale("unsubscribe", context.at):
        rules: tuple[RuleName, ...] = ("unsubscribe",)
        yield Cleared(rules=rules, at=context.at)
        if ended := _ended(rules, context.at, state):
            yield Reinstated(
                change="resubscribed", reasons=ended, at=context.at, actor=RULE_ACTOR,
                why="subscribed again", event_id=event.event_id,
            )  # fmt: skip


def expire(context: Context, state: AddressState) -> Iterator[Decision]:
    """End reasons whose time has passed."""
    for reason in state.active_reasons:
        if reason.until is not None and reason.until <= context.at:
            yield Cleared(rules=(reason.rule,), at=reason.until)
            yield Reinstated(
                change="expired", reasons=(reason,), at=reason.until, actor=RULE_ACTOR,
                why="it was listed for a time", event_id=reason.event_id,
            )  # fmt: skip


def reset(command: Command, context: Context, state: AddressState) -> Iterator[Decision]:
    """Lift the reasons there are by then, and begin to count anew; or say why not."""
    if state.has_applied(command.id):
        return
    confirmed = command.confirmed_complaint
    rules = (*_RESET_ALWAYS, *_RESET_CONFIRMED) if confirmed else _RESET_ALWAYS
    if not confirmed and (unconfirmed := _ended(_RESET_CONFIRMED, context.at, state)):
        yield _rejected(command, context, RULE_RESETS[unconfirmed[0].rule].refusal)
        return
    ended = _ended(rules, context.at, state)
    if not ended and not _counts_any(state, context.at):
        why = "it is not blacklisted"
        if "unsubscribe" in state.reasons:
            why = RULE_RESETS["unsubscribe"].refusal
        yield _rejected(command, context, why)
        return
    cleared = Cleared(rules=rules, at=context.at)
    yield CommandApplied(id=command.id, at=context.at)
    yield cleared
    # Also where bounces were only counted: whoever asked has to hear of it.
    yield Reinstated(
        change="reset", reasons=ended, at=context.at, actor=command.actor, why=command.reason,
        event_id=command.id,
    )  # fmt: skip
    # What happened after the reset, and was known before it, goes on suppressing the address.
    ended_rules = {reason.rule for reason in ended}
    for reason in evolve(state, cleared).active_reasons:
        if reason.rule in ended_rules:
            yield Suppressed(
                change="added", reason=reason, at=reason.since, event_id=reason.event_id,
                message_id=reason.message_id,
            )  # fmt: skip


def add_by_hand(command: Command, context: Context, state: AddressState) -> Iterator[Decision]:
    """Suppress the address by hand; or say why not."""
    if state.has_applied(command.id):
        return
    if state.is_stale("by_hand", context.at) or "by_hand" in state.reasons:
        why = "it is blacklisted by hand already"
        if "by_hand" not in state.reasons:
            why = "it was reset after this was asked for"
        yield _rejected(command, context, why)
        return
    reason = Reason(
        rule="by_hand", since=context.at, event_id=command.id, reason=command.reason,
        actor=command.actor, rules_version=context.policy.rules_version,
    )  # fmt: skip
    yield from _recorded(reason, context, state)


def repeat_entry(command: Command, context: Context, state: AddressState) -> Iterator[Decision]:
    """Publish the entry again, for a mailer to which it is new."""
    if not state.has_applied(command.id):
        yield CommandApplied(id=command.id, at=context.at)
        yield EntryRepeated()


def forget(forget: Forget, state: AddressState) -> Iterator[Decision]:
    """Keep nothing of an address; why it is suppressed goes on to its pseudonym, in no words."""
    if state.is_empty:
        return
    yield AddressForgotten(
        pseudonym=forget.pseudonym,
        reasons=tuple(
            reason.model_copy(
                update={
                    "event_id": f"forgotten-{reason.rule}-{milliseconds(reason.since)}",
                    "message_id": "", "reason": "",
                }
            )
            for reason in state.active_reasons
        ),
    )  # fmt: skip


def keep_reasons(kept: KeptReasons, state: AddressState) -> Iterator[Decision]:
    """Suppress a pseudonym for what its address was; its history has that already."""
    for reason in kept.reasons:
        known = state.has_applied(reason.event_id) or state.is_stale(reason.rule, reason.since)
        if not known:
            yield ReasonRecorded(reason=reason)


def _rejected(command: Command, context: Context, why: str) -> CommandRejected:
    return CommandRejected(id=command.id, at=context.at, actor=command.actor, reason=why)


def _ended(rules: tuple[RuleName, ...], at: datetime, state: AddressState) -> tuple[Reason, ...]:
    """Return what `Cleared` would end, the strongest first."""
    held = (
        [reason for reason in state.reasons.get(rule, ()) if reason.since <= at]
        for rule in RULE_NAMES if rule in rules
    )  # fmt: skip
    return tuple(merged_reason(reasons) for reasons in held if reasons)
