"""How decisions change what is remembered of an address, and when it may be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, assert_never

from processor.policy.config import Policy
from processor.policy.decisions import (
    Cleared,
    CommandRefused,
    Decision,
    Noted,
    Obeyed,
    Refused,
    Reinstated,
    Resent,
    RetriesExhausted,
    RetryAsked,
    RetryCancelled,
    RetryScheduled,
    SoftBounced,
    StreakEnded,
    Suppressed,
)
from processor.policy.state import Message, State, joined
from schemas.decisions import Reason, Rule

#: For so long copies and latecomers are expected: what topics keep, and providers try again.
REDELIVERY: Final = timedelta(days=7)
#: For so long past listings are kept, and the ids of what was cleared or obeyed.
MEMORY: Final = timedelta(days=30)
#: For so long a soft bounce counts that no other and no delivery followed.
STREAK_MEMORY: Final = timedelta(days=180)
#: How many of each set are kept, the newest.
_FACTS: Final = 32
_REASONS: Final = 8

K = TypeVar("K")
V = TypeVar("V")


def evolve(state: State, decision: Decision) -> State:
    """Return the state after a decision; the same one again changes nothing."""
    match decision:
        case SoftBounced():
            after = _bounced(state, decision)
        case Resent() | RetryScheduled() | RetryAsked() | RetryCancelled() | RetriesExhausted():
            after = _attempted(state, decision)
        case StreakEnded(at=at):
            streak = {name: when for name, when in state.streak.items() if when > at}
            since = max(at, state.streak_from or at)
            after = replace(state, streak=streak, streak_from=since)
        case Noted(reason=reason):
            held = {each.event_id: each for each in state.reasons.get(reason.rule, ())}
            kept = _first_and_last({**held, reason.event_id: reason}.values())
            after = replace(state, reasons={**state.reasons, reason.rule: kept})
        case Cleared(rules=rules, at=at):
            after = _cleared(state, rules, at)
        case Obeyed(id=name, at=at):
            after = replace(state, done=_newest({**state.done, name: at}, _FACTS, _itself))
        case Refused() | Suppressed() | Reinstated() | CommandRefused():
            after = state
        case _:
            assert_never(decision)
    return after


def _attempted(
    state: State,
    decision: Resent | RetryScheduled | RetryAsked | RetryCancelled | RetriesExhausted,
) -> State:
    match decision:
        case Resent(message_id=name, attempt=attempt, at=at):
            known = state.messages.get(name, Message(first_at=at))
            sents = {**known.sents, attempt: min(at, known.sents.get(attempt, at))}
            due_at = None if attempt >= known.asked else known.due_at
            after = replace(known, sents=_newest(sents, _FACTS, _itself), due_at=due_at)
        case RetryScheduled(message_id=name, attempt=attempt, due_at=due_at):
            after = replace(state.messages[name], asked=attempt, due_at=due_at)
        case RetryAsked(message_id=name):
            after = replace(state.messages[name], due_at=None)
        case RetryCancelled(message_id=name) | RetriesExhausted(message_id=name):
            after = replace(state.messages[name], due_at=None, over=True)
    return _with(state, name, after)


def _bounced(state: State, bounce: SoftBounced) -> State:
    if bounce.message_id:
        known = state.messages.get(bounce.message_id, Message(first_at=bounce.first_at))
        bounces = {**known.bounces, bounce.event_id: (bounce.attempt, bounce.at)}
        newer = replace(
            known,
            bounces=_newest(bounces, _FACTS, lambda value: value[1]),
            first_at=min(known.first_at, bounce.first_at),
            reason=bounce.reason,
        )
        state = _with(state, bounce.message_id, newer)
    if bounce.counts:
        streak = {**state.streak, bounce.message_id or bounce.event_id: bounce.at}
        state = replace(state, streak=_newest(streak, _FACTS, _itself))
    return state


def _with(state: State, message_id: str, message: Message) -> State:
    """Return the state with a message; one whose retry is waiting is never crowded out."""
    messages = {**state.messages, message_id: message}
    waiting = sum(each.due_at is not None for each in messages.values())
    kept = _newest(
        messages, _FACTS + waiting, lambda value: (value.due_at is not None, value.first_at)
    )
    return replace(state, messages=kept)


def _cleared(state: State, rules: tuple[Rule, ...], at: datetime) -> State:
    """Move what counts no more out of the reasons, to what is past and done."""
    reasons, past, done = dict(state.reasons), list(state.past), dict(state.done)
    for rule in rules:
        held = reasons.pop(rule, ())
        gone = [each for each in held if each.since <= at]
        if left := tuple(each for each in held if each.since > at):
            reasons[rule] = left
        if gone:
            ended = joined(gone)
            until = at if ended.until is None else min(at, ended.until)
            past.append(ended.model_copy(update={"until": until}))
            done |= {each.event_id: at for each in gone}
    until_now = {rule: max(at, state.cleared.get(rule, at)) for rule in rules}
    newer = replace(
        state,
        reasons=reasons,
        past=tuple(sorted(past, key=lambda each: (each.until or at, each.rule))[-_REASONS:]),
        cleared={**state.cleared, **until_now},
        done=_newest(done, _FACTS, _itself),
    )
    return evolve(newer, StreakEnded(at=at)) if "soft_bounces" in rules else newer


def _itself(at: datetime) -> datetime:
    return at


def _newest(items: Mapping[K, V], most: int, age: Callable[[V], Any]) -> Mapping[K, V]:
    """Return at most so many items, the newest by `age`."""
    if len(items) <= most:
        return items
    return dict(sorted(items.items(), key=lambda item: age(item[1]))[-most:])


def _first_and_last(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return reasons in order of time; of many, the first and the newest."""
    ordered = sorted(reasons, key=lambda each: (each.since, each.event_id))
    return (*ordered[:1], *ordered[1:][-_REASONS:])


def forget(state: State, now: datetime, policy: Policy) -> State:
    """Return the state without what no longer matters; what is left decides the same.

    A reset or a new subscription never is: a copy of what it cleared may come at any time.
    """
    enough = policy.horizon + REDELIVERY
    passing: tuple[Rule, ...] = ("soft_bounces",)
    streak_from = state.streak_from
    return State(
        reasons=state.reasons,
        past=tuple(each for each in state.past if each.until and each.until + MEMORY > now),
        cleared={
            rule: at for rule, at in state.cleared.items()
            if rule not in passing or at + MEMORY > now
        },
        done={name: at for name, at in state.done.items() if at + MEMORY > now},
        streak={name: at for name, at in state.streak.items() if at + STREAK_MEMORY > now},
        streak_from=streak_from if streak_from and streak_from + MEMORY > now else None,
        messages={
            name: each for name, each in state.messages.items()
            if each.due_at is not None or each.first_at + enough > now
        },
    )  # fmt: skip


def wakes_at(state: State, policy: Policy) -> datetime | None:
    """Return when time alone next changes something: a retry due, an expiry, something to forget.

    None: never. At that time decide on a `Tick`, then `forget`.
    """
    enough = policy.horizon + REDELIVERY
    cleared = state.cleared.get("soft_bounces")
    times = [
        *(each.due_at or each.first_at + enough for each in state.messages.values()),
        *(each.until for each in state.standing if each.until),
        *(each.until + MEMORY for each in state.past if each.until),
        *(at + MEMORY for at in state.done.values()),
        *(at + STREAK_MEMORY for at in state.streak.values()),
        *(at + MEMORY for at in (state.streak_from, cleared) if at),
    ]
    return min(times, default=None)
