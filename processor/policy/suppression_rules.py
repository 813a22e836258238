"""Rules of the blacklist: what lists an address, what ends it, and which sends are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from processor.policy.decisions import (
    Cleared,
    CommandRefused,
    Noted,
    Obeyed,
    Refused,
    Reinstated,
    StreakEnded,
    Suppressed,
)
from processor.policy.evolve import STREAK_MEMORY, evolve
from processor.policy.inputs import Case, Decisions, in_words
from processor.policy.state import RULES, State, joined
from schemas.decisions import NOBODY, Command, Reason, Rule
from schemas.events import MessageEvent

#: Which facts list an address, and by which rule.
LISTS: Final[Mapping[Rule, Callable[[MessageEvent], bool]]] = {
    "hard_bounce": lambda fact: fact.kind == "bounce" and fact.bounce_class == "hard",
    # "not-spam": somebody took the complaint back.
    "complaint": lambda fact: fact.kind == "complaint" and fact.reason_code.lower() != "not-spam",
    "opt_out": lambda fact: fact.kind == "opt_out" and fact.channel == "sms",
    # Of a mailer it is no echo but its own refusal, perhaps by an entry that is out of date.
    "echo": lambda fact: fact.kind == "invalid" and fact.provider != "",
    "unsubscribe": lambda fact: fact.kind == "unsubscribe",
}
#: Rules that a policy cannot leave out.
ALWAYS: Final[frozenset[Rule]] = frozenset({"unsubscribe", "by_hand"})
#: What a reset lifts by itself; a complaint only if confirmed, an opt-out by email never.
RESETS: Final[tuple[Rule, ...]] = tuple(r for r in RULES if r not in {"unsubscribe", "complaint"})
#: Soft bounces of a streak are so far apart, at least.
A_DAY: Final = timedelta(days=1)


def lists(fact: MessageEvent, case: Case, state: State) -> Decisions:
    """List the address, by the rule that the fact is one for."""
    for rule, holds in LISTS.items():
        if holds(fact):
            yield from _noted(_reason(fact, rule, in_words(fact), case, case.at), case, state)


def counts(fact: MessageEvent, case: Case, state: State) -> bool:
    """Tell whether a soft bounce is one more of a streak: a message counts once, a day at most one.

    A bounce of no known message counts for itself.
    """
    ended = [at for at in (state.streak_from, case.heard.good_at) if at]
    return (
        (fact.message_id or fact.event_id) not in state.streak
        and all(at < case.at for at in ended)
        and all(abs(case.at - at) >= A_DAY for at in state.streak.values())
        and case.at + STREAK_MEMORY > case.now
    )


def lists_softly(fact: MessageEvent, case: Case, state: State) -> Decisions:
    """List the address for some time if this soft bounce, just counted, completes a streak."""
    since = max(state.streak.values())
    until = since + case.policy.soft_expiry
    if len(state.streak) >= case.policy.soft_threshold and until > case.now:
        words = f"{case.policy.soft_threshold} messages in a row softly bounced: {in_words(fact)}"
        yield from _noted(_reason(fact, "soft_bounces", words, case, since, until), case, state)


def _reason(
    fact: MessageEvent, rule: Rule, words: str, case: Case, since: datetime,
    until: datetime | None = None,
) -> Reason:  # fmt: skip
    return Reason(
        rule=rule, since=since, until=until, event_id=fact.event_id, message_id=fact.message_id,
        reason=words, rules_version=case.policy.rules_version,
    )  # fmt: skip


def _noted(reason: Reason, case: Case, state: State) -> Decisions:
    """Take note of a reason, and say so if that changes why or for how long it is listed."""
    if state.is_stale(reason.rule, reason.since) or state.has_done(reason.event_id):
        return
    if reason.rule not in ALWAYS | case.policy.blacklists:
        return
    held = state.reasons.get(reason.rule, ())
    yield Noted(reason=reason)
    entry = joined([*held, reason])
    if not held or entry != joined(held):
        yield Suppressed(
            change="extended" if state.reasons else "added", reason=entry, at=case.at,
            event_id=reason.event_id, message_id=reason.message_id,
        )  # fmt: skip


def refuses(fact: MessageEvent, case: Case, state: State) -> Decisions:
    """Refuse a send to an address that was listed at that time."""
    reason = state.listed_at(case.at) if fact.kind == "sent" and fact.message_id else None
    if reason is None or (reason.message_id == fact.message_id and fact.attempt <= 1):
        return  # what listed the address was sent before it was, whatever the clocks say
    yield Refused(
        message_id=fact.message_id, attempt=fact.attempt, at=case.at, reason=reason
    )  # fmt: skip


def ends_streak(fact: MessageEvent, case: Case, state: State) -> Decisions:
    """Break the row of soft bounces: something was delivered, or touched by a person."""
    good = fact.kind == "delivery" or (fact.kind in {"open", "click"} and not fact.machine)
    if good and any(at <= case.at for at in state.streak.values()):
        yield StreakEnded(at=case.at)


def resubscribes(fact: MessageEvent, case: Case, state: State) -> Decisions:
    """End an unsubscribe, and nothing else: the person wants emails again."""
    if fact.kind == "resubscribe" and not state.is_stale("unsubscribe", case.at):
        rules: tuple[Rule, ...] = ("unsubscribe",)
        yield Cleared(rules=rules, at=case.at)
        if ended := _ended(rules, case.at, state):
            yield Reinstated(
                change="resubscribed", reasons=ended, at=case.at, actor=NOBODY,
                why="subscribed again", event_id=fact.event_id,
            )  # fmt: skip


def expires(case: Case, state: State) -> Decisions:
    """End what was listed until a time that has passed."""
    for reason in state.standing:
        if reason.until is not None and reason.until <= case.at:
            yield Cleared(rules=(reason.rule,), at=reason.until)
            yield Reinstated(
                change="expired", reasons=(reason,), at=reason.until, actor=NOBODY,
                why="it was listed for a time", event_id=reason.event_id,
            )  # fmt: skip


def resets(command: Command, case: Case, state: State) -> Decisions:
    """Lift what stands by then, and begin to count anew; or say why not."""
    if state.has_done(command.id):
        return
    rules = (*RESETS, "complaint") if command.confirmed_complaint else RESETS
    if not command.confirmed_complaint and _ended(("complaint",), case.at, state):
        yield _refused(command, case, "its owner reported spam: a reset has to be confirmed")
        return
    ended = _ended(rules, case.at, state)
    if not ended and not any(at <= case.at for at in state.streak.values()):
        why = "it is not blacklisted"
        if "unsubscribe" in state.reasons:
            why = "its owner unsubscribed, and only a new subscription ends that"
        yield _refused(command, case, why)
        return
    cleared = Cleared(rules=rules, at=case.at)
    yield Obeyed(id=command.id, at=case.at)
    yield cleared
    # Also where only soft bounces were counted: whoever asked has to hear of it.
    yield Reinstated(
        change="reset", reasons=ended, at=case.at, actor=command.actor, why=command.reason,
        event_id=command.id,
    )  # fmt: skip
    # What happened after the reset, and was known before it, goes on listing the address.
    for reason in evolve(state, cleared).standing:
        if reason.rule in {each.rule for each in ended}:
            yield Suppressed(
                change="added", reason=reason, at=reason.since, event_id=reason.event_id,
                message_id=reason.message_id,
            )  # fmt: skip


def adds(command: Command, case: Case, state: State) -> Decisions:
    """List the address by hand; or say why not."""
    if state.has_done(command.id):
        return
    if state.is_stale("by_hand", case.at) or "by_hand" in state.reasons:
        why = "it is blacklisted by hand already"
        if "by_hand" not in state.reasons:
            why = "it was reset after this was asked for"
        yield _refused(command, case, why)
        return
    reason = Reason(
        rule="by_hand", since=case.at, event_id=command.id, reason=command.reason,
        actor=command.actor, rules_version=case.policy.rules_version,
    )  # fmt: skip
    yield from _noted(reason, case, state)


def _refused(command: Command, case: Case, why: str) -> CommandRefused:
    return CommandRefused(id=command.id, at=case.at, actor=command.actor, reason=why)


def _ended(rules: tuple[Rule, ...], at: datetime, state: State) -> tuple[Reason, ...]:
    """Return what `Cleared` would end, the strongest first."""
    held = (
        [each for each in state.reasons.get(rule, ()) if each.since <= at]
        for rule in RULES if rule in rules
    )  # fmt: skip
    return tuple(joined(each) for each in held if each)
