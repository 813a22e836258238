"""What a listing asks of partial states: what all of a message show, and what one of them does.

Its key and a date no earlier hold of every partial state of a message; a text, what a status rests
on, a date no later are shown by one of them at least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from projections.clickhouse.ddl import DATED
from projections.clickhouse.sql import Bound
from projections.expressions import TIME, kinds_of
from projections.presence import by_bits, late_sql
from projections.queries.listing import Filter, Listing, condition
from projections.status import trace
from projections.tables import KEY, Projection, log_of

#: A condition on a partial state, once its values are bound.
Shown = Callable[[Bound], str]


@dataclass(frozen=True, slots=True)
class Traces:
    """What a listing asks of the partial states of the messages on it."""

    wanted: Listing

    @property
    def log(self) -> Projection:
        """The log that is listed."""
        return log_of(self.wanted.channel)

    def always(self, bound: Bound) -> list[str]:
        """Return what holds of every partial state of a candidate."""
        holds = [f"tenant_id = {bound.bind(self.wanted.tenant, 'String')}"]
        for each in self.wanted.filters:
            if each.column in KEY:
                holds.append(condition(self.log, each, bound))
            elif each.column == "date" and each.operator in {">", ">=", "="}:
                least = replace(each, operator=each.operator if each.operator == ">" else ">=")
                holds.append(condition(self.log, least, bound, of=DATED))
        after = self.wanted.after
        if after is not None and self.wanted.sort == "date" and not self.wanted.descending:
            holds.append(f"{DATED} >= {bound.bind(after.date, TIME)}")
        return holds

    def shown(self) -> list[Shown]:
        """Return what some partial state of a candidate shows, each of it."""
        limits = self.limits()
        first: list[Shown] = [lambda bound: " AND ".join(limit(bound) for limit in limits)]
        return self.traces() + (first if limits else [])

    def traces(self) -> list[Shown]:
        """Return what some partial state of a candidate shows, whichever."""
        found = (trace_of(self.log, each) for each in self.wanted.filters)
        return [each for each in found if each is not None]

    def late(self, _: Bound) -> str:
        """Return that a state seems to be of later facts only: see `late_sql`."""
        return late_sql(self.log)

    def begins(self, bound: Bound) -> str:
        """Return that a message seems to begin in a state."""
        return f"NOT {self.late(bound)}"

    def limits(self) -> list[Shown]:
        """Return what only the first partial state of a candidate shows: a date no later."""
        after = self.wanted.after
        found = [
            _dated(self.log, each) for each in self.wanted.filters
            if each.column == "date" and each.operator in {"<", "<=", "="}
        ]  # fmt: skip
        if after is not None and self.wanted.sort == "date" and self.wanted.descending:
            found.append(lambda bound: f"{DATED} <= {bound.bind(after.date, TIME)}")
        return found


def every(_: Bound) -> str:
    """Return what every state shows."""
    return "true"


def either(*shown: Shown) -> Shown:
    """Return what a state shows that shows one of some things, or more."""
    return lambda bound: f"({' OR '.join(each(bound) for each in shown)})"


def _dated(log: Projection, wanted: Filter) -> Shown:
    return lambda bound: condition(log, wanted, bound, of=DATED)


def has_status(log: Projection, status: str) -> Shown:
    """Return what some partial state of a message with a status shows."""
    shown = by_bits(log, trace(log, status).sql)
    return lambda _: shown


def trace_of(log: Projection, wanted: Filter) -> Shown | None:
    """Return what some partial state of a message shows that a filter keeps, if there is such."""
    if wanted.operator == "=" and wanted.column == "status":
        return has_status(log, wanted.value)
    reading = log.readings.get(wanted.column)
    if reading is None or wanted.operator not in {"=", "~"} or not wanted.value:
        return None
    for fold in log.folds:
        # The largest of all is the largest of one of them.
        if fold.is_packed and reading.sql in {fold[name].sql for name in kinds_of(fold.kind)}:
            return lambda bound: condition(log, wanted, bound, of=reading.sql)
    return None
