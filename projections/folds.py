"""Merge operators: what a column keeps of the facts, declared once for Python and ClickHouse.

Every operator is commutative, associative and idempotent, so a state is the least upper bound of
its facts: duplicates, reordering and redelivery cannot change it. A `Fold` is one column; `fold`
is the Python side; `Fold.ddl` and `Fold.sql` are the type of the stored state and the expression
that makes it of a set of facts, in the materialised view as in a rebuild.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from projections import ordered_bytes
from projections.expressions import (
    BOOL,
    STRING,
    TIME,
    Expression,
    Row,
    column,
    literal,
    nullable,
    plain,
)

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operator:
    """How two values of a column become one, in the three places where that happens."""

    engine: str  # the aggregate function of ClickHouse that merges two states
    sql: str  # what makes a state of facts
    join: Callable[[Any, Any], Any]  # what merges two states in Python


def _smaller(left: datetime | None, right: datetime | None) -> datetime | None:
    return min((t for t in (left, right) if t is not None), default=None)


def _larger(left: datetime | None, right: datetime | None) -> datetime | None:
    return max((t for t in (left, right) if t is not None), default=None)


EARLIEST: Final = Operator("min", "minOrNullIf({value}, {where})", _smaller)
LAST: Final = Operator("max", "maxOrNullIf({value}, {where})", _larger)
LARGEST: Final = Operator("max", "maxIf({value}, {where})", max)
UNION: Final = Operator(
    "groupUniqArrayArray", "groupUniqArrayIf({value}, {where})", frozenset.union
)
UNION_OF_LISTS: Final = Operator(
    "groupUniqArrayArray", "groupUniqArrayArrayIf({value}, {where})", frozenset.union
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """A column of a state table: what `operator` keeps of `value` over the facts `where` holds."""

    name: str
    operator: Operator
    value: Expression
    where: Expression
    kind: str  # ClickHouse type of the merged value; of values packed as one that of their tuple
    zero: Any  # the value of no facts at all
    take: Callable[[Any], Any]  # one fact's value as a state
    #: Whether the table keeps it as it is: most of what it takes to search short texts is unpacking
    #: them (of 5 million subjects 128 to 71 ms, for a fifth more on disk).
    uncompressed: bool = False

    @property
    def state(self) -> Expression:
        """The column's merged value, for rules and readings."""
        return column(self.name, self.kind)

    @property
    def is_packed(self) -> bool:
        """Whether several values are kept as one, as bytes (`projections.ordered_bytes`)."""
        return self.kind.startswith("Tuple(")

    @property
    def stored(self) -> str:
        """The ClickHouse type of the column."""
        return STRING if self.is_packed else self.kind

    @property
    def ddl(self) -> str:
        """The column as a state table declares it."""
        codec = " CODEC(NONE)" if self.uncompressed else ""
        return f"{self.name} SimpleAggregateFunction({self.operator.engine}, {self.stored}){codec}"

    @property
    def sql(self) -> str:
        """The state of a group of facts."""
        made = self.operator.sql.format(value=self.value.sql, where=self.where.sql)
        return f"{made} AS {self.name}"

    @property
    def merged(self) -> str:
        """The merged state of partial ones."""
        return f"{self.operator.engine}({self.name}) AS {self.name}"

    @property
    def seen(self) -> Expression:
        """Tell whether a fact has counted; of a fold that keeps a time, a set or several values."""
        if self.zero is None:
            return self.state.is_set
        if self.is_packed:
            kept = self.state
            # Not `!=`, of which the engine makes `notEmpty` and then turns the plans of some
            # queries to and fro until it gives up (TOO_MANY_QUERY_PLAN_OPTIMIZATIONS).
            return Expression(f"({self.name} > '')", BOOL, lambda row: kept.of(row) != self.zero)
        return self.state.size > literal(0)

    def __getitem__(self, name: str) -> Expression:
        """Return one of the values packed as one."""
        return ordered_bytes.item(self.state, name)


ALWAYS: Final = literal(value=True)


def _same(value: Any) -> Any:
    return value


def earliest(name: str, time: Expression, *, where: Expression = ALWAYS) -> Fold:
    """Keep the earliest `time`; missing if no fact counts."""
    return Fold(
        name=name, operator=EARLIEST, value=time, where=where, kind=nullable(TIME), zero=None,
        take=_same,
    )  # fmt: skip


def last(name: str, time: Expression, *, where: Expression = ALWAYS) -> Fold:
    """Keep the last `time`; missing if no fact counts."""
    return Fold(
        name=name, operator=LAST, value=time, where=where, kind=nullable(TIME), zero=None,
        take=_same,
    )  # fmt: skip


def largest(name: str, number: Expression, *, where: Expression = ALWAYS) -> Fold:
    """Keep the largest `number`; zero if no fact counts."""
    return Fold(
        name=name, operator=LARGEST, value=number, where=where, kind=plain(number.kind), zero=0,
        take=_same,
    )  # fmt: skip


def largest_of(name: str, *, where: Expression = ALWAYS, **values: Expression) -> Fold:
    """Keep the largest of several values, compared from left to right: times and numbers first.

    `fold["…"]` is each value; if no fact counts, 1970, zero or the empty text. The column is named
    for what it holds: bytes.
    """
    value = ordered_bytes.packed(**values)
    return Fold(
        name=f"{name}_packed", operator=LARGEST, value=value, where=where, kind=value.kind,
        zero=ordered_bytes.nothing(value.kind), take=_same,
    )  # fmt: skip


def latest(
    name: str, time: Expression, *, where: Expression = ALWAYS, **values: Expression
) -> Fold:
    """Keep the values of the latest fact; of two at one time, the larger values.

    `fold["at"]` is its time, 1970 if no fact counts; `fold["…"]` each value.
    """
    return largest_of(name, where=where, at=time, **values)


def union(name: str, value: Expression, *, where: Expression = ALWAYS) -> Fold:
    """Keep the set of all values."""
    return Fold(
        name=name, operator=UNION, value=value, where=where, kind=f"Array({value.kind})",
        zero=frozenset(), take=lambda one: frozenset((one,)),
    )  # fmt: skip


def union_of_lists(name: str, values: Expression, *, where: Expression = ALWAYS) -> Fold:
    """Keep the set of all elements of all lists."""
    return Fold(
        name=name, operator=UNION_OF_LISTS, value=values, where=where, kind=values.kind,
        zero=frozenset(), take=frozenset,
    )  # fmt: skip


def fold(folds: Sequence[Fold], facts: Iterable[Row]) -> State:
    """Return the state of the facts of one key: a value per fold, by name."""
    state: State = {each.name: each.zero for each in folds}
    for fact in facts:
        for each in folds:
            if each.where.of(fact):
                taken = each.take(each.value.of(fact))
                state[each.name] = each.operator.join(state[each.name], taken)
    return state


def join(folds: Sequence[Fold], left: State, right: State) -> State:
    """Return the state of the facts of both."""
    return {each.name: each.operator.join(left[each.name], right[each.name]) for each in folds}
