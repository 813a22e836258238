"""The tables, one module each: plain tables (`TABLE`), logs (`PROJECTION`), readings (`VIEW`).

Found by walking this package; two with one name are an error.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar

from projections.expressions import Expression, column, literal
from projections.folds import Fold
from schemas.events import Channel

#: What tells one row of a log from another, within its channel; the order in which a log is kept,
#: so that everything of a tenant's recipient is read in one go.
KEY: Final = ("tenant_id", "recipient", "message_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that rows are inserted into.

    `columns` maps names to ClickHouse types (with codec or default); `computed` are columns that
    the engine fills in, never inserted. Of rows alike in `order_by` the one of the highest
    `version` stays.
    """

    name: str
    columns: Mapping[str, str]
    order_by: tuple[str, ...]
    version: str
    computed: Mapping[str, str]
    comment: str

    def __getattr__(self, name: str) -> Expression:
        """Return the expression of a column."""
        if name not in self.columns:
            raise AttributeError(f"table {self.name} has no column {name!r}")
        return column(name, type_of(self.columns[name]))


#: A rule without words or without codes of its own.
NOTHING: Final = literal("")
NO_CODES: Final = Expression(
    "tuple(toUInt16(0), '', '', '')",
    "Tuple(smtp_code UInt16, enhanced_status String, reason_code String, diagnostic String)",
    lambda _: (0, "", "", ""),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of a status table: the status if `when` holds.

    The reason people read is `reason`, then the codes and texts of `why` in plain words.
    `trace` is what at least one partial state of a message shows of which the rule holds. Without
    one the rule is lasting: once a partial state fulfils `when`, the whole does; so of a message
    with a later status no partial state fulfils it. That is not asked where there is a trace: of
    what few messages show it would cost more than it saves.
    """

    status: str
    name: str
    when: Expression
    reason: Expression = NOTHING
    why: Expression = NO_CODES
    trace: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A log: one row per message and recipient, folded from the events of a channel.

    `kinds` are the kinds of fact that make or change a row; `folds` what its state keeps; `rules`
    its status, the first that holds; `readings` its columns as people see them, in order, computed
    of the state (`status` and `status_reason` stand among them by name). `seen` are the folds of
    which it is kept apart whether they have seen a fact (`projections.presence`: new ones go to the
    end), and `unsure` holds of the messages, in terms of these, whose status takes more than that.
    Of these folds `sent_at` is of what comes first in a message's life, `later` of what follows.
    """

    name: str
    channel: Channel
    kinds: frozenset[str]
    folds: tuple[Fold, ...]
    rules: tuple[Rule, ...]
    seen: tuple[Fold, ...]
    unsure: Expression
    sent_at: Fold
    later: tuple[Fold, ...]
    readings: Mapping[str, Expression]
    comment: str

    @property
    def state_table(self) -> str:
        """The name of the table of partial states."""
        return f"{self.name}_state"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A reading of other tables: the SELECT, with `{database}` before their names."""

    name: str
    select: str
    comment: str


def type_of(declaration: str) -> str:
    """Return the type of a column's declaration, without default and codec."""
    for word in (" CODEC", " DEFAULT", " COMMENT"):
        declaration = declaration.partition(word)[0]
    return declaration.strip()


_T = TypeVar("_T", Table, Projection, View)


def _modules(attribute: str) -> Iterator[tuple[str, object]]:
    for info in pkgutil.iter_modules(__path__, __name__ + "."):
        found = getattr(importlib.import_module(info.name), attribute, None)
        if found is not None:
            yield info.name, found


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
    found: dict[str, _T] = {}
    for module, table in _modules(attribute):
        assert isinstance(table, kind)
        if table.name in found:
            raise RuntimeError(f"two tables are named {table.name!r}; see {module}")
        found[table.name] = table
    return found


def log_of(channel: Channel) -> Projection:
    """Return the log of a channel."""
    return next(p for p in projections().values() if p.channel == channel)
