"""Status is a reading: an ordered table of rules over a state; the first that holds decides.

The rules stand with their log, in `projections/tables/`. Here they become a Python function, a SQL
expression, and an explanation.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from itertools import groupby
from typing import Any

from projections.expressions import Expression, Row, column, first_that_holds, literal, words
from projections.folds import ALWAYS, State, fold
from projections.tables import Projection, Rule, projections
from projections.tables.events import ZEROS
from projections.tables.shared import described


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a message has its status: the rule that decided, and those that would have, below it."""

    status: str
    reason: str
    rule: str
    place: int  # of the rule in its table, from 1
    overruled: tuple[tuple[str, str], ...]  # (status, rule) that hold too, but come later


def decide(projection: Projection, state: State) -> tuple[int, Rule]:
    """Return the first rule that holds and its place, from 0. The last rule always holds."""
    return next((place, rule) for place, rule in enumerate(projection.rules) if rule.when.of(state))


def trace(projection: Projection, status: str) -> Expression:
    """Return what at least one partial state of a message with this status must show.

    So the candidates for a status can be found without folding. Of a lasting rule that is what the
    rule asks; and no partial state may fulfil a lasting rule of another status that comes before.
    """
    found: dict[str, Expression] = {}
    barred: list[Expression] = []
    for value, together in groupby(projection.rules, key=lambda rule: rule.status):
        rules = list(together)
        lasting = [rule.when for rule in rules if rule.trace is None]
        if value == status:
            shown = [rule.trace for rule in rules if rule.trace is not None]
            if lasting:
                # The last rule of all always holds: what others of its status ask is no matter.
                some = lasting[-1:] if rules[-1] is projection.rules[-1] else lasting
                shown.append(reduce(operator.and_, [reduce(operator.or_, some), *barred]))
            found |= {each.sql: each for each in shown}
        barred += [~each for each in lasting]
    return reduce(operator.or_, found.values()) if found else ~ALWAYS


def steps(projection: Projection) -> Mapping[str, Expression]:
    """Return what is computed of a state on the way to its reason, each from those before it."""
    return _steps(projection.name)


@cache
def _steps(log: str) -> Mapping[str, Expression]:
    """Make them once: a page reads many rows."""
    projection = projections()[log]
    cases = [(rule.when, rule) for rule in projection.rules]
    why = first_that_holds([(when, rule.why) for when, rule in cases])
    # Which of the last rules it is changes no status: what they ask need not be read for it.
    last = next(n for n in range(len(cases)) if _one_status(projection.rules[n:]))
    statuses = [(when, literal(rule.status)) for when, rule in cases]
    return {
        "status": first_that_holds([*statuses[:last], (ALWAYS, statuses[last][1])]),
        "why": why,
        "status_reason": words(
            first_that_holds([(when, rule.reason) for when, rule in cases]),
            described(column("why", why.kind)),
            between=": ",
        ),
    }


def _one_status(rules: Sequence[Rule]) -> bool:
    return len({rule.status for rule in rules}) == 1


def _stepped(projection: Projection, state: Row) -> State:
    """Return a state with what `steps` computes of it."""
    columns = dict(state)
    for name, step in steps(projection).items():
        columns[name] = step.of(columns)
    return columns


def read(projection: Projection, key: Mapping[str, str], state: State) -> dict[str, Any]:
    """Return a log row as people see it, of the `key` columns and the state of its facts."""
    row = _stepped(projection, {**key, **state})
    return {name: reading.of(row) for name, reading in projection.readings.items()}


def explain(state: Row) -> Explanation:
    """Say which rule decided a message's status.

    `state` is the folded state of its facts (`fold_facts`), with its `channel`.
    Raises `KeyError` if it is not the state of a log of that channel.
    """
    projection = next(p for p in projections().values() if p.channel == state["channel"])
    columns = _stepped(projection, state)
    place, rule = decide(projection, columns)
    return Explanation(
        status=rule.status,
        reason=columns["status_reason"],
        rule=rule.name,
        place=place + 1,
        overruled=tuple(
            (other.status, other.name)
            for other in projection.rules[place + 1 : -1]
            if other.when.of(columns) and other.status != rule.status
        ),
    )


def complete(event: Mapping[str, Any]) -> Row:
    """Return an event with a value in every column, as the event store would hold it."""
    given = {name: value for name, value in event.items() if value is not None}
    return {**ZEROS, **given}


def fold_facts(projection: Projection, events: Iterable[Mapping[str, Any]]) -> State:
    """Return the state of the events of one message and recipient, with its `channel`."""
    facts = (complete(e) for e in events if e["kind"] in projection.kinds)
    return {**fold(projection.folds, facts), "channel": projection.channel}
