"""How many states show something, judged by a part of them: a guess that sets a page's pace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from projections.ddl import DATED
from projections.queries import Bound
from projections.seen import SEEN
from projections.traces import Shown
from schemas.events import EARLIEST

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: States of a tenant by which it is judged how many of all show something.
_SIZE: Final = 131_072


@dataclass(slots=True)
class Looked:
    """What the states of a sample show, of what has been asked."""

    #: What was asked, by how it is asked and of which values, each with its bit.
    asked: dict[str, tuple[int, Shown]] = field(default_factory=dict)
    #: How many states show what these bits stand for, and nothing else of it.
    counts: Counter[int] = field(default_factory=Counter)
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

    @property
    def since(self) -> datetime:
        """About when the first of all states begins."""
        return self.looked.since

    def number(self, *shown: Shown) -> float:
        """Return about how many states of candidates show all of some things."""
        return self._count(self.look(*shown)) * self.looked.scale

    def share(self, shown: Shown) -> float:
        """Return about which share of the states of candidates show something."""
        bits = self.look(shown)
        return self._count(bits) / max(1, self._count(0))

    def look(self, *shown: Shown) -> int:
        """Return the bits of some things, of which one query tells, unless they are known."""
        asked = {self._name(each): each for each in shown}
        if new := [name for name in asked if name not in self.looked.asked]:
            for name in new:
                self.looked.asked[name] = 1 << len(self.looked.asked), asked[name]
            self._ask()
        return sum(self.looked.asked[name][0] for name in asked)

    def _ask(self) -> None:
        bound = self.begin()
        tenant, always = bound.conditions[0], bound.where
        shows = " + ".join(
            f"{bit} * toUInt64({shown(bound)})" for bit, shown in self.looked.asked.values()
        )
        found = self.client.query(
            f"SELECT {shows} AS shows, {always} AS holds, count(), min({DATED}), "
            f"(SELECT count() FROM {self.states} WHERE {tenant}) "
            f"FROM (SELECT *, {SEEN}, {DATED} FROM {self.states} WHERE {tenant} LIMIT {_SIZE}) "
            "GROUP BY shows, holds",
            parameters=bound.values,
        ).result_rows
        if found:
            self.looked.counts = Counter({row[0]: row[2] for row in found if row[1]})
            self.looked.scale = found[0][4] / sum(row[2] for row in found)
            self.looked.since = min(row[3] for row in found)

    def _count(self, bits: int) -> int:
        return sum(n for shows, n in self.looked.counts.items() if shows & bits == bits)

    def _name(self, shown: Shown) -> str:
        bound = self.begin()
        return f"{shown(bound)} {bound.values}"
