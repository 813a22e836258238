"""What other policies would have done: the policy, run over history with a clock of its own.

History is what it is: a retry that was never requested has no outcome, so that what is counted is
what the policy would have requested and suppressed, given what happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from typing import Any

from processor.policy.config import Policy
from processor.policy.decide import decide, lookups_needed
from processor.policy.decisions import Decision, RetriesExhausted, RetryDue, Suppressed
from processor.policy.evolve import next_wake_at, prune
from processor.policy.inputs import Input, LookupResult, Tick
from processor.policy.state import AddressState
from schemas.decisions import Command, RuleName
from schemas.events import RETRY_ENDS, SUCCESS_KINDS, Channel, MessageEvent

#: An address of the tenant.
ChannelAddress = tuple[Channel, str]


@dataclass(slots=True)
class SimulationOutcome:
    """What a policy did: retries requested, messages given up, and whom each rule suppressed."""

    retries: int = 0
    exhausted: int = 0
    suppressed: dict[RuleName, set[ChannelAddress]] = field(
        default_factory=lambda: defaultdict(set)
    )

    @property
    def addresses(self) -> set[ChannelAddress]:
        """Every address that was ever suppressed."""
        return set().union(*self.suppressed.values())


class _PastLookups:
    """What the log knew at a time, of addresses that ever softly bounced."""

    def __init__(self) -> None:
        self._last_success_at: dict[ChannelAddress, datetime] = {}
        self._finished: dict[ChannelAddress, dict[str, str]] = defaultdict(dict)

    def record(self, address: ChannelAddress, event: MessageEvent) -> bool:
        """Record a success; tell whether the event is one, which the policy is not fed."""
        if event.kind not in SUCCESS_KINDS:
            return False
        self._finished[address][event.message_id] = RETRY_ENDS[event.kind]
        if not event.machine:
            self._last_success_at[address] = event.occurred_at
        return True

    def fetch(self, address: ChannelAddress, message_ids: Iterable[str]) -> LookupResult:
        finished = self._finished.get(address, {})
        return LookupResult(
            last_success_at=self._last_success_at.get(address),
            finished={name: finished[name] for name in message_ids if name in finished},
        )


class _Run:
    """One policy, its states, and when each next wakes."""

    def __init__(self, policy: Policy, lookups: _PastLookups) -> None:
        self._policy, self._lookups = policy, lookups
        self._states: dict[ChannelAddress, AddressState] = {}
        #: A heap of (when, address); an entry holds only if `_wake_of` agrees.
        self._wakes: list[tuple[datetime, ChannelAddress]] = []
        self._wake_of: dict[ChannelAddress, datetime | None] = {}
        self.outcome = SimulationOutcome()

    def pass_time(self, until: datetime) -> None:
        """Let everything fall due and expire that does before a time, each at its moment."""
        while self._wakes and self._wakes[0][0] <= until:
            at, address = heappop(self._wakes)
            if self._wake_of.get(address) == at:
                self.take(address, Tick(), at)

    def take(self, address: ChannelAddress, input_: Input, now: datetime) -> None:
        before = self._states.get(address, AddressState())
        message_ids = lookups_needed(before, input_, now)
        lookup = None if message_ids is None else self._lookups.fetch(address, message_ids)
        decisions, after = decide(before, input_, now, self._policy, lookup)
        for decision in decisions:
            self._count(address, decision)
        state = prune(after, now, self._policy)
        if state.is_empty:
            self._states.pop(address, None)
            self._wake_of.pop(address, None)
            return
        self._states[address] = state
        wake = next_wake_at(state, self._policy)
        if wake is not None and wake != self._wake_of.get(address):
            heappush(self._wakes, (wake, address))
        self._wake_of[address] = wake

    def _count(self, address: ChannelAddress, decision: Decision) -> None:
        match decision:
            case RetryDue():
                self.outcome.retries += 1
            case RetriesExhausted():
                self.outcome.exhausted += 1
            case Suppressed(reason=reason):
                self.outcome.suppressed[reason.rule].add(address)


def simulate(
    rows: Iterable[Mapping[str, Any]], policies: tuple[Policy, ...], until: datetime
) -> list[SimulationOutcome]:
    """Run each policy over a tenant's events that a policy needs, and on until a time.

    `rows` are those of `policy_events.needed_events`. Returns the outcomes in the order of the
    policies.
    """
    lookups = _PastLookups()
    runs = [_Run(policy, lookups) for policy in policies]
    for event in map(past_event, rows):
        now = min(event.occurred_at, event.recorded_at or until, until)
        for run in runs:
            run.pass_time(now)
        address: ChannelAddress = (event.channel, event.recipient)
        if not lookups.record(address, event):
            for run in runs:
                run.take(address, past_command(event) or event, now)
    for run in runs:
        run.pass_time(until)
    return [run.outcome for run in runs]


def past_event(row: Mapping[str, Any]) -> MessageEvent:
    """Return a row of the event store as an event; where it has nothing, an event has None."""
    blanks = {"bounce_class": row["bounce_class"] or None, "smtp_code": row["smtp_code"] or None}
    return MessageEvent.model_construct(**{**row, **blanks})


def past_command(event: MessageEvent) -> Command | None:
    """Return the command of a person that an event of history tells of."""
    if event.kind not in {"suppressed", "reinstated"}:
        return None
    return Command(
        id=event.event_id, command="add" if event.kind == "suppressed" else "reset",
        tenant_id=event.tenant_id, channel=event.channel, address=event.recipient,
        actor="history", reason=event.diagnostic[:1024] or "history", confirmed_complaint=True,
        requested_at=event.occurred_at,
    )  # fmt: skip


def compare_outcomes(outcomes: list[SimulationOutcome]) -> Iterator[tuple[str, int, int]]:
    """Yield what two outcomes come to, line by line: (what, the first, the second)."""
    first, second = outcomes
    yield "retries asked for", first.retries, second.retries
    yield "messages given up", first.exhausted, second.exhausted
    yield "addresses listed", len(first.addresses), len(second.addresses)
    for rule in sorted({*first.suppressed, *second.suppressed}):
        counts = [len(outcome.suppressed.get(rule, ())) for outcome in (first, second)]
        yield f"listed by {rule}", counts[0], counts[1]
