"""Folds: what a column keeps of the events of a message, declared once for Python and ClickHouse.

Every merge operator is commutative, associative and idempotent, so a state is the least upper bound
of its events: duplicates, reordering and redelivery cannot change it. A `Fold` is one column;
`fold_events` is the Python side; `Fold.ddl` and `Fold.sql` are the type of the stored state and the
expression that makes it of a set of events, in the materialised view as in a rebuild.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from projections.column_types import STRING, TIME, base_type, nullable
from projections.expressions import Column, Expression, Row, column, literal
from projections.ordered_bytes import is_packed_present, packed, packed_item, zero_values

RowState = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MergeOperator:
    """How two values of a column become one, in the three places where that happens."""

    engine: str  # the aggregate function of ClickHouse that merges two states
    sql: str  # what makes a state of events
    join: Callable[[Any, Any], Any]  # what merges two states in Python


def _earlier(left: datetime | None, right: datetime | None) -> datetime | None:
    return min((time for time in (left, right) if time is not None), default=None)


def _later(left: datetime | None, right: datetime | None) -> datetime | None:
    return max((time for time in (left, right) if time is not None), default=None)


EARLIEST: Final = MergeOperator("min", "minOrNullIf({value}, {where})", _earlier)
LATEST: Final = MergeOperator("max", "maxOrNullIf({value}, {where})", _later)
MAXIMUM: Final = MergeOperator("max", "maxIf({value}, {where})", max)
UNION: Final = MergeOperator(
    "groupUniqArrayArray", "groupUniqArrayIf({value}, {where})", frozenset.union
)
UNION_OF_LISTS: Final = MergeOperator(
    "groupUniqArrayArray", "groupUniqArrayArrayIf({value}, {where})", frozenset.union
)


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A column of a state table: what `operator` keeps of `value` over the events `where` holds."""

    name: str
    operator: MergeOperator
    value: Expression
    where: Expression
    kind: str  # ClickHouse type of the merged value; of values packed as one that of their tuple
    zero: Any  # the value of no events at all
    take: Callable[[Any], Any]  # one event's value as a state
    #: Whether the table keeps it uncompressed: to search short texts is mostly unpacking (E-067).
    uncompressed: bool = False

    @cached_property
    def state(self) -> Column:
        """The column's merged value, for status rules and columns of the log."""
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
        """The state of a group of events."""
        state = self.operator.sql.format(value=self.value.sql, where=self.where.sql)
        return f"{state} AS {self.name}"

    @property
    def merged(self) -> str:
        """The merged state of partial ones."""
        return f"{self.operator.engine}({self.name}) AS {self.name}"

    @cached_property
    def present(self) -> Expression:
        """Whether an event has counted; of a fold that keeps a time, a set or several values."""
        if self.zero is None:
            return self.state.is_set
        if self.is_packed:
            return is_packed_present(self.state)
        return self.state.size > literal(0)

    def __getitem__(self, name: str) -> Expression:
        """Return one of the values packed as one."""
        return packed_item(self.state, name)


ALWAYS: Final = literal(value=True)


def _same(value: Any) -> Any:
    return value


def earliest(name: str, time: Expression, *, where: Expression = ALWAYS) -> Fold:
    """Keep the earliest `time`; missing if no event counts."""
    return Fold(
        name=name, operator=EARLIEST, value=time, where=where, kind=nullable(TIME), zero=None,
        take=_same,
    )  # fmt: skip


def last(name: str, time: Expression, *, where: Expression = ALWAYS) -> Fold:
    """Keep the last `time`; missing if no event counts."""
    return Fold(
        name=name, operator=LATEST, value=time, where=where, kind=nullable(TIME), zero=None,
        take=_same,
    )  # fmt: skip


def largest(name: str, number: Expression, *, where: Expression = ALWAYS) -> Fold:
    """Keep the largest `number`; zero if no event counts."""
    return Fold(
        name=name, operator=MAXIMUM, value=number, where=where, kind=base_type(number.kind),
        zero=0, take=_same,
    )  # fmt: skip


def largest_of(name: str, *, where: Expression = ALWAYS, **values: Expression) -> Fold:
    """Keep the largest of several values, compared from left to right: times and numbers first.

    `fold["…"]` is each value; if no event counts, 1970, zero or the empty text. The column is named
    for what it holds: bytes.
    """
    value = packed(**values)
    return Fold(
        name=f"{name}_packed", operator=MAXIMUM, value=value, where=where, kind=value.kind,
        zero=zero_values(value.kind), take=_same,
    )  # fmt: skip


def latest(
    name: str, time: Expression, *, where: Expression = ALWAYS, **values: Expression
) -> Fold:
    """Keep the values of the latest event; of two at one time, the larger values.

    `fold["at"]` is its time, 1970 if no event counts; `fold["…"]` each value.
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


def fold_events(folds: Sequence[Fold], events: Iterable[Row]) -> RowState:
    """Return the state of the events of one key: a value per fold, by name."""
    state: RowState = {fold.name: fold.zero for fold in folds}
    for event in events:
        for fold in folds:
            if fold.where.evaluate(event):
                value = fold.take(fold.value.evaluate(event))
                state[fold.name] = fold.operator.join(state[fold.name], value)
    return state
