"""The status of a message: an ordered table of rules over its state; the first that holds decides.

The rules stand with their log, in `projections/tables/`. Here they become a Python function, a SQL
expression, and an explanation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from projections.expressions import Expression, Row, column, first_that_holds, literal, words
from projections.folds import ALWAYS, RowState, fold_events
from projections.tables import Projection, StatusRule, log_of
from projections.tables.events import ZEROS
from projections.tables.shared import codes_in_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a message has its status: the rule that decided, and those that would have, below it."""

    status: str
    reason: str
    rule: str
    place: int  # of the rule in its table, from 1
    overruled: tuple[tuple[str, str], ...]  # (status, rule) that hold too, but come later


def deciding_rule(log: Projection, state: Row) -> tuple[int, StatusRule]:
    """Return the first rule that holds and its place, from 0. The last rule always holds."""
    return next((place, rule) for place, rule in enumerate(log.rules) if rule.when.evaluate(state))


@cache
def derived_columns(log: Projection) -> Mapping[str, Expression]:
    """Return what is computed of a state on the way to its reason, each from those before it."""
    rules = log.rules
    why = first_that_holds([(rule.when, rule.why) for rule in rules])
    # Which of the last rules it is changes no status: their conditions need not be read for it.
    last = next(place for place in range(len(rules)) if _have_one_status(rules[place:]))
    statuses = [(rule.when, literal(rule.status)) for rule in rules]
    return {
        "status": first_that_holds([*statuses[:last], (ALWAYS, statuses[last][1])]),
        "why": why,
        "status_reason": words(
            first_that_holds([(rule.when, rule.reason) for rule in rules]),
            codes_in_words(column("why", why.kind)),
            between=": ",
        ),
    }


def _have_one_status(rules: Sequence[StatusRule]) -> bool:
    return len({rule.status for rule in rules}) == 1


def _with_derived_columns(log: Projection, state: Row) -> RowState:
    row = dict(state)
    for name, expression in derived_columns(log).items():
        row[name] = expression.evaluate(row)
    return row


def read_row(log: Projection, key: Mapping[str, str], state: RowState) -> dict[str, Any]:
    """Return a log row as people see it, of the `key` columns and the state of its events."""
    row = _with_derived_columns(log, {**key, **state})
    return {name: expression.evaluate(row) for name, expression in log.columns.items()}


def explain(state: Row) -> Explanation:
    """Say which rule decided a message's status.

    `state` is the folded state of its events (`fold_message`), with its `channel`.
    Raises `StopIteration` if there is no log of that channel, `KeyError` if it is not its state.
    """
    log = log_of(state["channel"])
    row = _with_derived_columns(log, state)
    return explanation_of(
        log, row["status_reason"], [rule.when.evaluate(row) for rule in log.rules]
    )


def explanation_of(log: Projection, reason: str, holding: Sequence[bool]) -> Explanation:
    """Return the explanation of a message with a reason, of which rules hold, in their order."""
    place = next(place for place, holds in enumerate(holding) if holds)
    rule = log.rules[place]
    return Explanation(
        status=rule.status,
        reason=reason,
        rule=rule.name,
        place=place + 1,
        overruled=tuple(
            (other.status, other.name)
            for other, holds in list(zip(log.rules, holding, strict=True))[place + 1 : -1]
            if holds and other.status != rule.status
        ),
    )


def complete_event(event: Mapping[str, Any]) -> Row:
    """Return an event with a value in every column, as the event store would hold it."""
    return {**ZEROS, **{name: value for name, value in event.items() if value is not None}}


def fold_message(log: Projection, events: Iterable[Mapping[str, Any]]) -> RowState:
    """Return the state of the events of one message and recipient, with its `channel`."""
    complete = (complete_event(event) for event in events if event["kind"] in log.kinds)
    return {**fold_events(log.folds, complete), "channel": log.channel}
