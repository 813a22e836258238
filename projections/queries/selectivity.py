"""How many states show something, judged by a part of them: a guess that sets a page's pace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from projections.clickhouse.ddl import DATED
from projections.clickhouse.sql import Bound
from projections.presence import SEEN
from projections.queries.pushdown import Shown
from schemas.events import EARLIEST

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: States of a tenant by which it is judged how many of all show something.
_SIZE: Final = 131_072


@dataclass(slots=True)
class Looked:
    """What the states of a sample show, of what has been asked."""

    #: What was asked, by how it is asked and of which values.
    asked: dict[str, Shown] = field(default_factory=dict)
    #: How many states of candidates show just some of it: whether they do, in that order.
    counts: Counter[tuple[int, ...]] = field(default_factory=Counter)
    #: States of the tenant to each of them.
    scale: float = 0.0
    #: When the first of them begins.
    since: datetime = EARLIEST


@dataclass(frozen=True, slots=True)
class Sample:
    """Some states of a tenant; what they have shown is kept in `looked`.

    `begin` returns a new question with the conditions that all candidates hold, the tenant's first.
    """

    client: Client
    states: str
    begin: Callable[[], Bound]
    looked: Looked

    def number(self, *shown: Shown) -> float:
        """Return about how many states of candidates show all of some things."""
        return self._count(self.look(*shown)) * self.looked.scale

    def numbers(self, shown: Sequence[Shown]) -> list[float]:
        """Return about how many states of candidates show each of some things, by one look."""
        return [self._count([name]) * self.looked.scale for name in self.look(*shown)]

    def share(self, shown: Shown) -> float:
        """Return about which share of the states of candidates show something."""
        return self._count(self.look(shown)) / max(1, self._count([]))

    def look(self, *shown: Shown) -> list[str]:
        """Have one query tell of some things, unless all are known; return how they are known."""
        names = list(map(self._name, shown))
        if not self.looked.asked.keys() >= set(names):
            self.looked.asked.update(zip(names, shown, strict=True))
            self._ask()
        return names

    def _ask(self) -> None:
        bound = self.begin()
        tenant, always = bound.conditions[0], bound.where
        asked = self.looked.asked.values()
        columns = {f"shows{place}": each(bound) for place, each in enumerate(asked)}
        shows = ", ".join(f"{condition} AS {name}" for name, condition in columns.items())
        found = self.client.query(
            f"SELECT (SELECT count() FROM {self.states} WHERE {tenant}), count(), min({DATED}), "
            f"{always} AS holds, {shows} "
            f"FROM (SELECT *, {SEEN}, {DATED} FROM {self.states} WHERE {tenant} LIMIT {_SIZE}) "
            f"GROUP BY holds, {', '.join(columns)}",
            parameters=bound.values,
        ).result_rows
        if found:
            self.looked.counts = Counter({tuple(row[4:]): row[1] for row in found if row[3]})
            self.looked.scale = found[0][0] / sum(row[1] for row in found)
            self.looked.since = min(row[2] for row in found)

    def _count(self, names: Sequence[str]) -> int:
        places = [place for place, name in enumerate(self.looked.asked) if name in names]
        return sum(n for shows, n in self.looked.counts.items() if all(shows[at] for at in places))

    def _name(self, shown: Shown) -> str:
        bound = self.begin()
        return f"{shown(bound)} {bound.values}"
