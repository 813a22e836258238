"""The tables, one module each: plain tables (`TABLE`), logs (`PROJECTION`), views (`VIEW`).

Found by walking this package; two with one name are an error.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar

from projections.column_types import declared_type
from projections.expressions import Call, Column, Expression, column, literal
from projections.folds import Fold
from schemas.events import Channel

#: What tells one row of a log from another, within its channel; the order in which a log is kept,
#: so that everything of a tenant's recipient is read in one go.
KEY: Final = ("tenant_id", "recipient", "message_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What the engine takes of every insert into `events` (as `event`) for a table: a SELECT."""

    select: str
    where: str
    group_by: tuple[str, ...] = ()

    def sql(self, events: str, more: str = "") -> str:
        """Return the SELECT, of the stored table of events; `more` narrows it further."""
        grouped = f" GROUP BY {', '.join(self.group_by)}" if self.group_by else ""
        condition = f"{self.where} AND {more}" if more else self.where
        return f"{self.select} FROM {events} AS event WHERE {condition}{grouped}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that rows are inserted into.

    `columns` maps names to ClickHouse types (with codec or default); `computed` are columns that
    the engine fills in, never inserted. Of rows alike in `order_by` the one of the highest
    `version` stays; '' where such are copies. What has a `fill` is filled from `events` by a view.
    A smaller `index_granularity` makes it faster to find a few rows. `settings` are the engine's,
    of this table. `shard_by` names what is on one shard, where that is
    neither a recipient nor a row.
    """

    name: str
    columns: Mapping[str, str]
    order_by: tuple[str, ...]
    version: str
    computed: Mapping[str, str]
    comment: str
    fill: Fill | None = None
    index_granularity: int = 8192
    settings: str = ""
    shard_by: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Column:
        """Return a column's value in an expression. Raises `KeyError` for an unknown column."""
        return column(name, declared_type(self.columns[name]))


NEVER: Final = literal(False)
#: A status rule without words, or without codes, of its own.
NO_REASON: Final = literal("")
NO_CODES: Final = Call(
    "tuple", Call("to UInt16", literal(0), kind="UInt16"), literal(""), literal(""), literal(""),
    kind="Tuple(smtp_code UInt16, enhanced_status String, reason_code String, diagnostic String)",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRule:
    """One line of a status table: the status if `when` holds.

    The reason people read is `reason`, then the codes and texts of `why` in plain words.
    """

    status: str
    name: str
    when: Expression
    reason: Expression = NO_REASON
    why: Expression = NO_CODES


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """A log: one row per message and recipient, folded from the events of a channel.

    `kinds` are the kinds of event that make or change a row; `folds` what its state keeps; `rules`
    its status, the first that holds; `columns` what people see, in order, computed of the state
    (`status` and `status_reason` stand among them by name). `presence_folds` are those of which it
    is kept apart whether an event has counted (`projections.presence`: new ones go to the end).
    Of these, `begin_fold` keeps what comes first in a message's life, `late_folds` what follows.
    A message of which `hidden` holds, by presence alone, is no row.
    """

    name: str
    channel: Channel
    kinds: frozenset[str]
    folds: tuple[Fold, ...]
    rules: tuple[StatusRule, ...]
    presence_folds: tuple[Fold, ...]
    begin_fold: Fold
    late_folds: tuple[Fold, ...]
    hidden: Expression = NEVER
    columns: Mapping[str, Expression]
    comment: str

    @property
    def state_table(self) -> str:
        """The name of the table of partial states."""
        return f"{self.name}_state"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view of other tables: the SELECT, with `{database}` before their names."""

    name: str
    select: str
    comment: str


_T = TypeVar("_T", Table, Projection, View)


def _modules(attribute: str) -> Iterator[tuple[str, object]]:
    for info in pkgutil.iter_modules(__path__, __name__ + "."):
        declared = getattr(importlib.import_module(info.name), attribute, None)
        if declared is not None:
            yield info.name, declared


@cache
def tables() -> Mapping[str, Table]:
    """Return the plain tables by name. Raises `RuntimeError` if two have one name."""
    return _by_name(Table, "TABLE")


@cache
def projections() -> Mapping[str, Projection]:
    """Return the logs by name. Raises `RuntimeError` if two have one name."""
    return _by_name(Projection, "PROJECTION")


@cache
def views() -> Mapping[str, View]:
    """Return the views by name. Raises `RuntimeError` if two have one name."""
    return _by_name(View, "VIEW")


def _by_name(kind: type[_T], attribute: str) -> Mapping[str, _T]:
    by_name: dict[str, _T] = {}
    for module, table in _modules(attribute):
        assert isinstance(table, kind)
        if table.name in by_name:
            raise RuntimeError(f"two tables are named {table.name!r}; see {module}")
        by_name[table.name] = table
    return by_name


def log_of(channel: Channel) -> Projection:
    """Return the log of a channel."""
    return next(p for p in projections().values() if p.channel == channel)
