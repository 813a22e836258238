"""The rules for retries and the blacklist: pure, over what is remembered of one address.

    decisions, after = decide(state, event, now, policy, heard)
    state = forget(after, now, policy)

**Crashes.** Publish what is decided and wait for the broker, then store the state, then commit. A
crash between leaves a state that is older than what was published; the events come again and give
the same decisions with the same ids. (Stored first, a copy of the event would decide nothing, and
what was not published would be lost.)

**Copies.** An event that had its effect decides nothing; only a refusal is said again, with the
same id.

**Order.** Facts that list an address, an unsubscribe and a new subscription may come in any order:
the same reasons stand in the end. A fact that happened before a reset and comes after it does not
list again; one that happened after it stands, whichever came first. A bounce that names no attempt
belongs to the last one sent before it, even if that `sent` fact comes later. Order does matter
- for a reset: it is refused while there is nothing to lift, and asks for confirmation of the
  complaints known by then; one that comes later is not forgiven unless the reset was confirmed;
- for a send: it is refused if the address was listed at its time by what was known when it came;
- for soft bounces less than a day apart that come in another order: one of the streak may not be
  counted. None is ever counted that should not be;
- for a delivery that comes after the soft bounces after it: who was listed stays so until expiry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial, reduce
from typing import Final, TypeAlias

from processor.policy import retry_rules, suppression_rules
from processor.policy.config import Policy
from processor.policy.decisions import Decision, SoftBounced, StreakEnded
from processor.policy.evolve import evolve, forget, wakes_at
from processor.policy.inputs import Case, Decisions, Event, Heard, Tick, in_words, is_soft
from processor.policy.state import State, dump, load
from schemas.decisions import OURS, Command
from schemas.events import MessageEvent

#: All that an agent needs to run the rules.
__all__ = [
    "Command", "Event", "Heard", "MessageEvent", "State", "Tick", "asks", "decide", "dump",
    "evolve", "forget", "load", "wakes_at",
]  # fmt: skip

Rule: TypeAlias = Callable[[State], Decisions]


def decide(
    state: State, event: Event, now: datetime, policy: Policy, heard: Heard | None = None
) -> tuple[tuple[Decision, ...], State]:
    """Return what follows from an event, in order, and the state after it.

    By `now` retries fall due and listings expire at a `Tick`, nothing happened later than now, and
    what is past its time is not begun. What the log has `heard` is needed where `asks` says so.
    """
    case = Case(_time_of(event, now), now, policy, heard or Heard())
    made: list[Decision] = []
    for rule in _rules_for(event, case):
        if new := tuple(rule(state)):
            made += new
            state = fold(state, new)
    return tuple(made), state


def fold(state: State, decisions: Iterable[Decision]) -> State:
    """Return the state after some decisions."""
    return reduce(evolve, decisions, state)


def asks(state: State, event: Event, now: datetime) -> frozenset[str] | None:
    """Return the messages to ask the log about before deciding; None: `heard` is not needed.

    `good_at` is needed with every answer, also where no message is named. A first soft bounce needs
    none: what ends a streak matters when there is one, and of its message the log is asked when the
    retry falls due. (Each answer costs the database as much as writing twenty facts.)
    """
    match event:
        case Tick():
            return frozenset(name for name, *_ in retry_rules.due(state, now)) or None
        case MessageEvent() if is_soft(event) and state.streak:
            return frozenset({event.message_id} - {""})
        case _:
            return None


def _time_of(event: Event, now: datetime) -> datetime:
    """Return when an event happened: not later than it was recorded, whatever its clock said."""
    match event:
        case Tick():
            return now
        case Command():
            return min(event.asked_at, now)
        case MessageEvent():
            return min(event.occurred_at, event.recorded_at or now)


def _rules_for(event: Event, case: Case) -> Iterator[Rule]:
    """Yield the rules that an event is put to, in turn."""
    if isinstance(event, MessageEvent) and event.label == OURS:
        return  # what was decided once is not decided on again
    yield partial(suppression_rules.expires, case)
    match event:
        case Tick():
            yield partial(retry_rules.falls_due, case)
        case Command():
            yield partial(_COMMANDS[event.command], event, case)
        case MessageEvent():
            for rule in _FACTS:
                yield partial(rule, event, case)


def _softly_bounces(fact: MessageEvent, case: Case, state: State) -> Decisions:
    """Count a soft bounce once, list the address if that completes a streak, and ask again."""
    known = state.messages.get(fact.message_id)
    if not is_soft(fact) or (known is not None and fact.event_id in known.bounces):
        return
    good_at = case.heard.good_at
    if good_at is not None and any(at <= good_at for at in state.streak.values()):
        ended = StreakEnded(at=good_at)
        yield ended
        state = evolve(state, ended)
    counted = suppression_rules.counts(fact, case, state)
    bounce = SoftBounced(
        message_id=fact.message_id, event_id=fact.event_id, attempt=max(fact.attempt, 1),
        at=case.at, first_at=min(case.at, case.heard.first_at.get(fact.message_id, case.at)),
        reason=in_words(fact), counts=counted,
    )  # fmt: skip
    yield bounce
    state = evolve(state, bounce)
    if counted:
        listed = tuple(suppression_rules.lists_softly(fact, case, state))
        yield from listed
        state = fold(state, listed)
    if fact.message_id:
        yield from retry_rules.asks_again(fact.message_id, case, state)


#: What a fact is put to, in this order: a listing comes before the sends that it voids.
_FACTS: Final = (
    suppression_rules.lists, suppression_rules.resubscribes, suppression_rules.ends_streak,
    suppression_rules.refuses, retry_rules.ends, retry_rules.answers, _softly_bounces,
)  # fmt: skip
_COMMANDS: Final = {"reset": suppression_rules.resets, "add": suppression_rules.adds}
