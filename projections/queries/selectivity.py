"""How many states show something, estimated from a sample of them: it sets a page's pace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from projections.clickhouse.ddl import STATE_DATE
from projections.clickhouse.sql import Query, fetch_rows
from projections.presence import PRESENCE
from projections.queries.pushdown import StatePredicate
from schemas.events import MIN_EVENT_TIME

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@dataclass(slots=True)
class SampleCounts:
    """What the states of a sample show, of all that has been estimated."""

    #: The predicates, by their SQL and values.
    predicates: dict[str, StatePredicate] = field(default_factory=dict)
    #: How many states of candidates show just some of them: whether they do, in that order.
    counts: Counter[tuple[int, ...]] = field(default_factory=Counter)
    #: States of the tenant to each of the sample.
    scale: float = 0.0
    #: When the first state of the sample begins.
    since: datetime = MIN_EVENT_TIME


@dataclass(frozen=True, slots=True)
class SelectivityEstimator:
    """Estimates from some states of a tenant; what they have shown is kept in `sample`.

    `begin` returns a new query with the conditions that hold of all states of candidates.
    """

    client: Client
    states: str
    begin: Callable[[], Query]
    sample: SampleCounts
    sample_states: int

    def number(self, *predicates: StatePredicate) -> float:
        """Return about how many states of candidates show all of some things."""
        return self._count(self.measure(*predicates)) * self.sample.scale

    def numbers(self, predicates: Sequence[StatePredicate]) -> list[float]:
        """Return about how many states of candidates show each of some things, by one query."""
        return [self._count([key]) * self.sample.scale for key in self.measure(*predicates)]

    def share(self, predicate: StatePredicate) -> float:
        """Return about which share of the states of candidates show something."""
        return self._count(self.measure(predicate)) / max(1, self._count([]))

    def measure(self, *predicates: StatePredicate) -> list[str]:
        """Have one query count some predicates, unless all are known; return their keys."""
        keys = list(map(self._key, predicates))
        if not self.sample.predicates.keys() >= set(keys):
            self.sample.predicates.update(zip(keys, predicates, strict=True))
            self._query()
        return keys

    def _query(self) -> None:
        query = self.begin()
        of_tenant, of_candidates = query.of_tenant, query.where
        predicates = self.sample.predicates.values()
        columns = {f"shows{place}": each(query).sql for place, each in enumerate(predicates)}
        shows = ", ".join(f"{condition} AS {name}" for name, condition in columns.items())
        sample = (
            f"SELECT *, {PRESENCE}, {STATE_DATE} FROM {self.states} WHERE {of_tenant} "
            f"LIMIT {self.sample_states}"
        )
        rows = fetch_rows(
            self.client,
            f"SELECT (SELECT count() FROM {self.states} WHERE {of_tenant}), count(), "
            f"min({STATE_DATE}), {of_candidates} AS holds, {shows} FROM ({sample}) "
            f"GROUP BY holds, {', '.join(columns)}",
            query.values,
        )
        if rows:
            self.sample.counts = Counter({tuple(row[4:]): row[1] for row in rows if row[3]})
            self.sample.scale = rows[0][0] / sum(row[1] for row in rows)
            self.sample.since = min(row[2] for row in rows)

    def _count(self, keys: Sequence[str]) -> int:
        places = [place for place, key in enumerate(self.sample.predicates) if key in keys]
        return sum(
            number for shows, number in self.sample.counts.items()
            if all(shows[place] for place in places)
        )  # fmt: skip

    def _key(self, predicate: StatePredicate) -> str:
        query = self.begin()
        return f"{predicate(query).sql} {query.values}"
