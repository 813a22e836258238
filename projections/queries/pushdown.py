"""What a listing asks of partial states: conditions pushed down below the fold.

A message's key and a date no earlier hold of every partial state of it; a text, what a status
depends on, a date no later are shown by at least one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from projections.clickhouse.ddl import STATE_DATE
from projections.clickhouse.sql import Condition, Query
from projections.column_types import TIME, tuple_elements
from projections.presence import is_late_sql, with_presence_bits
from projections.queries.listing import CONTAINS, ONE_OF, Filter, Listing, filter_condition
from projections.tables import KEY, Projection, log_of
from projections.witness import witness

#: A condition on a partial state, once its values are bound.
StatePredicate = Callable[[Query], Condition]


@dataclass(frozen=True, slots=True)
class Pushdown:
    """What a listing asks of the partial states of the messages on it."""

    listing: Listing

    @property
    def log(self) -> Projection:
        """The log that is listed."""
        return log_of(self.listing.channel)

    def of_all_states(self, query: Query) -> list[Condition]:
        """Return what holds of every partial state of a candidate, besides the tenant."""
        conditions = []
        for filter_ in self.listing.filters:
            if filter_.column in KEY:
                conditions.append(filter_condition(self.log, filter_, query))
            elif filter_.column == "date" and filter_.operator in {">", ">=", "="}:
                operator = ">" if filter_.operator == ">" else ">="
                no_earlier = replace(filter_, operator=operator)
                conditions.append(filter_condition(self.log, no_earlier, query, of=STATE_DATE))
        after = self.listing.after
        if after is not None and self.listing.sort == "date" and not self.listing.goes_down:
            conditions.append(Condition(f"{STATE_DATE} >= {query.bind(after.date, TIME)}"))
        return conditions

    def of_some_state(self) -> list[StatePredicate]:
        """Return what some partial state of a candidate shows: a state for each predicate."""
        limits = self.of_first_state()
        return self.of_any_state() + ([_all_of(limits)] if limits else [])

    def of_any_state(self) -> list[StatePredicate]:
        """Return what some partial state of a candidate shows, whichever."""
        predicates = (predicate_of(self.log, filter_) for filter_ in self.listing.filters)
        return [predicate for predicate in predicates if predicate is not None]

    def of_first_state(self) -> list[StatePredicate]:
        """Return what only the first partial state of a candidate shows: a date no later."""
        after = self.listing.after
        predicates = [
            _dated(self.log, filter_) for filter_ in self.listing.filters
            if filter_.column == "date" and filter_.operator in {"<", "<=", "="}
        ]  # fmt: skip
        if after is not None and self.listing.sort == "date" and self.listing.goes_down:
            predicates.append(
                lambda query: Condition(f"{STATE_DATE} <= {query.bind(after.date, TIME)}")
            )
        return predicates

    def is_late(self, _: Query) -> Condition:
        """Return that a state seems to be of later events only: see `is_late_sql`."""
        return Condition(is_late_sql(self.log))

    def begins(self, query: Query) -> Condition:
        """Return that a message seems to begin in a state."""
        return Condition(f"NOT {self.is_late(query).sql}")


def every_state(_: Query) -> Condition:
    """Return what every state shows."""
    return Condition("true")


def one_of(*predicates: StatePredicate) -> StatePredicate:
    """Return what a state shows that shows one of some things, or more."""
    return lambda query: Condition(f"({' OR '.join(each(query).sql for each in predicates)})")


def _all_of(predicates: list[StatePredicate]) -> StatePredicate:
    return lambda query: Condition(" AND ".join(each(query).sql for each in predicates))


def _dated(log: Projection, filter_: Filter) -> StatePredicate:
    return lambda query: filter_condition(log, filter_, query, of=STATE_DATE)


def has_status(log: Projection, status: str) -> StatePredicate:
    """Return what some partial state of a message with a status shows."""
    condition = Condition(with_presence_bits(log, witness(log, status)).sql)
    return lambda _: condition


def predicate_of(log: Projection, filter_: Filter) -> StatePredicate | None:
    """Return what some partial state of a message shows that a filter keeps, if there is such."""
    if filter_.operator in {"=", ONE_OF} and filter_.column == "status":
        return one_of(*(has_status(log, status) for status in filter_.choices))
    column = log.columns.get(filter_.column)
    if column is None or filter_.operator not in {"=", CONTAINS} or not filter_.value:
        return None
    for fold in log.folds:
        # The largest of all is the largest of one of them.
        if fold.is_packed and column in {fold[name] for name in tuple_elements(fold.kind)}:
            return lambda query: filter_condition(log, filter_, query, of=column.sql)
    return None
