"""What other policies would have done: the rules, run over history with a clock of their own.

History is what it is: a retry that was never asked for has no outcome, so that what is counted is
what the rules would have asked for and listed, given what happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from typing import Any, Final

from processor.policy.config import Policy
from processor.policy.decide import asks, decide, forget, wakes_at
from processor.policy.decisions import RetriesExhausted, RetryAsked, Suppressed
from processor.policy.inputs import Event, Heard, Tick
from processor.policy.state import State
from schemas.decisions import Command, Rule
from schemas.events import Channel, MessageEvent

#: An address of the tenant.
Whom = tuple[Channel, str]
_OVER: Final = {"delivery": "it was delivered", "open": "it was opened", "click": "it was clicked"}


@dataclass(slots=True)
class Outcome:
    """What a policy did: retries asked for, messages given up, and whom each rule listed."""

    retries: int = 0
    exhausted: int = 0
    listed: dict[Rule, set[Whom]] = field(default_factory=lambda: defaultdict(set))

    @property
    def addresses(self) -> set[Whom]:
        """Every address that was ever listed."""
        return set().union(*self.listed.values())


class _Heard:
    """What the log knew at a time, of addresses that ever softly bounced."""

    def __init__(self) -> None:
        self._good_at: dict[Whom, datetime] = {}
        self._over: dict[Whom, dict[str, str]] = defaultdict(dict)

    def take(self, whom: Whom, fact: MessageEvent) -> bool:
        """Take note of a fact; tell whether it is one that the rules are not fed."""
        why = _OVER.get(fact.kind)
        if why is None:
            return False
        self._over[whom][fact.message_id] = why
        if not fact.machine:
            self._good_at[whom] = fact.occurred_at
        return True

    def about(self, whom: Whom, messages: Iterable[str]) -> Heard:
        over = self._over.get(whom, {})
        return Heard(
            good_at=self._good_at.get(whom),
            over={name: over[name] for name in messages if name in over},
        )


class _Run:
    """One policy, its states, and when each has to be woken."""

    def __init__(self, policy: Policy, heard: _Heard) -> None:
        self._policy, self._heard = policy, heard
        self._states: dict[Whom, State] = {}
        self._wakes: list[tuple[datetime, Whom]] = []
        #: The one of an address's wakes that holds; the others are left over.
        self._wake_of: dict[Whom, datetime | None] = {}
        self.outcome = Outcome()

    def pass_time(self, until: datetime) -> None:
        """Let everything fall due and expire that does before a time, each at its moment."""
        while self._wakes and self._wakes[0][0] <= until:
            at, whom = heappop(self._wakes)
            if self._wake_of.get(whom) == at:
                self.take(whom, Tick(), at)

    def take(self, whom: Whom, event: Event, now: datetime) -> None:
        before = self._states.get(whom, State())
        asked = asks(before, event, now)
        heard = None if asked is None else self._heard.about(whom, asked)
        decisions, after = decide(before, event, now, self._policy, heard)
        for each in decisions:
            self._count(whom, each)
        state = forget(after, now, self._policy)
        if state.is_empty:
            self._states.pop(whom, None)
            self._wake_of.pop(whom, None)
            return
        self._states[whom] = state
        wake = wakes_at(state, self._policy)
        if wake is not None and wake != self._wake_of.get(whom):
            heappush(self._wakes, (wake, whom))
        self._wake_of[whom] = wake

    def _count(self, whom: Whom, decision: object) -> None:
        match decision:
            case RetryAsked():
                self.outcome.retries += 1
            case RetriesExhausted():
                self.outcome.exhausted += 1
            case Suppressed(reason=reason):
                self.outcome.listed[reason.rule].add(whom)


def simulate(
    rows: Iterable[Mapping[str, Any]], policies: tuple[Policy, ...], until: datetime
) -> list[Outcome]:
    """Run each policy over a tenant's `policy_events.facts`, and on until a time.

    Returns the outcomes in the order of the policies.
    """
    heard = _Heard()
    runs = [_Run(policy, heard) for policy in policies]
    for fact in map(_fact, rows):
        now = min(fact.occurred_at, fact.recorded_at or until, until)
        for run in runs:
            run.pass_time(now)
        whom: Whom = (fact.channel, fact.recipient)
        if not heard.take(whom, fact):
            for run in runs:
                run.take(whom, _asked_for(fact) or fact, now)
    for run in runs:
        run.pass_time(until)
    return [run.outcome for run in runs]


def _fact(row: Mapping[str, Any]) -> MessageEvent:
    """Return a row of the event store as a fact; where it has nothing, a fact has None."""
    blanks = {"bounce_class": row["bounce_class"] or None, "smtp_code": row["smtp_code"] or None}
    return MessageEvent.model_construct(**{**row, **blanks})


def _asked_for(fact: MessageEvent) -> Command | None:
    """Return the command of a person that a fact of history tells of."""
    if fact.kind not in {"suppressed", "reinstated"}:
        return None
    return Command(
        id=fact.event_id, command="add" if fact.kind == "suppressed" else "reset",
        tenant_id=fact.tenant_id, channel=fact.channel, address=fact.recipient,
        actor="history", reason=fact.diagnostic[:1024] or "history", confirmed_complaint=True,
        asked_at=fact.occurred_at,
    )  # fmt: skip


def compared(outcomes: list[Outcome]) -> Iterator[tuple[str, int, int]]:
    """Yield what two outcomes come to, line by line: (what, the first, the second)."""
    first, second = outcomes
    yield "retries asked for", first.retries, second.retries
    yield "messages given up", first.exhausted, second.exhausted
    yield "addresses listed", len(first.addresses), len(second.addresses)
    for rule in sorted({*first.listed, *second.listed}):
        words = f"listed by {rule}"
        yield words, len(first.listed.get(rule, ())), len(second.listed.get(rule, ()))
