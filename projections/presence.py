"""Presence bits: which folds of a message have counted an event, in one number.

Most folds of most messages have counted none, and most statuses depend on nothing more. A log names
folds (`Projection.presence_folds`), and its table of states has a column with a bit for each. The
engine makes it of a partial state as it is written; of merged states it is the bits of all. A query
reads the bits where it would ask the folds, 4 bytes of a message rather than some 80; and of
messages whose bits are known, only the folds that have something.

A bit is known by its place, in tables that are there already: a log's list only grows at its end,
and `migrate` has the engine make the column anew of all states when it has grown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from projections.expressions import (
    OPERATORS,
    Call,
    Column,
    Evaluator,
    Expression,
    Literal,
    Operator,
    literal,
    quote,
)  # fmt: skip
from projections.folds import Fold
from projections.tables import Projection

PRESENCE: Final = "seen"
#: A codec for numbers that scans read of every state: T64 unpacks them faster than LZ4 (E-066).
T64_CODEC: Final = "CODEC(T64)"
#: The bits of several partial states, of a source that is called `part`.
MERGED_PRESENCE: Final = f"groupBitOr(part.{PRESENCE}) AS {PRESENCE}"

_COLUMN: Final = Column("UInt32", PRESENCE)
_ANY: Final = "any of bits"
_NONE: Final = "none of bits"


def _any_of_bits(call: Call) -> Evaluator:
    bits, mask = (argument.evaluate for argument in call.arguments)
    return lambda row: bool(bits(row) & mask(row))


def _none_of_bits(call: Call) -> Evaluator:
    bits, mask = (argument.evaluate for argument in call.arguments)
    return lambda row: not bits(row) & mask(row)


OPERATORS.update({
    _ANY: Operator("(bitAnd({0}, {1}) != 0)", _any_of_bits),
    _NONE: Operator("(bitAnd({0}, {1}) = 0)", _none_of_bits),
})  # fmt: skip


@dataclass(frozen=True)
class _NothingCounted(Expression):
    """The value of a fold that has counted no event."""

    fold: Fold

    @property
    def sql(self) -> str:
        """The default of the type in which a state keeps it."""
        return f"defaultValueOfTypeName({quote(self.fold.stored)})"

    @cached_property
    def evaluate(self) -> Evaluator:
        """The function that returns it."""
        zero = self.fold.zero
        return lambda _: zero


def presence_column(log: Projection) -> str:
    """Return the column as the table of states declares it."""
    bits = (
        f"bitShiftLeft(toUInt32({fold.present.sql}), {place})"
        for place, fold in enumerate(log.presence_folds)
    )
    kind = "SimpleAggregateFunction(groupBitOr, UInt32)"
    return f"{PRESENCE} {kind} MATERIALIZED toUInt32({' + '.join(bits)}) {T64_CODEC}"


def with_presence_bits(log: Projection, expression: Expression) -> Expression:
    """Return an expression over states that reads the bits where it asked the folds.

    Of several bits it asks at once whether there is any, or none (E-009).
    """
    masks = {fold.present: 1 << place for place, fold in enumerate(log.presence_folds)}

    def change(node: Expression) -> Expression:
        return any_of(masks[node]) if node in masks else _merged(node)

    return expression.rewrite(change)


def any_of(mask: int) -> Expression:
    """Return whether any of some bits is set."""
    return Call(_ANY, _COLUMN, literal(mask))


def none_of(mask: int) -> Expression:
    """Return whether none of some bits is set."""
    return Call(_NONE, _COLUMN, literal(mask))


def _merged(node: Expression) -> Expression:
    """Return a condition on bits as one on their mask, where it can be."""
    match node:
        case Call(operator="not", arguments=(Call(operator="any of bits") as asked,)):
            return none_of(_mask(asked))
        case Call(
            operator="and",
            arguments=(
                Call(operator="none of bits") as left,
                Call(operator="none of bits") as right,
            ),
        ):
            return none_of(_mask(left) | _mask(right))
        case Call(
            operator="or",
            arguments=(Call(operator="any of bits") as left, Call(operator="any of bits") as right),
        ):
            return any_of(_mask(left) | _mask(right))
    return node


def _mask(call: Call) -> int:
    mask = call.arguments[1]
    assert isinstance(mask, Literal)
    assert isinstance(mask.value, int)
    return mask.value


def from_presence_alone(log: Projection, expression: Expression) -> Expression:
    """Return a status, or what it depends on, for messages that do not need a full fold.

    Other folds do not affect the status of these; their default takes their place.
    """
    folds = {fold.name: fold for fold in log.folds}

    def change(node: Expression) -> Expression:
        if isinstance(node, Column) and node.name in folds:
            return _NothingCounted(node.kind, folds[node.name])
        return node

    return with_presence_bits(log, expression).rewrite(change)


def possible_folds(log: Projection, bits: int) -> list[Fold]:
    """Return the folds that may have something of messages with these bits, of all together."""
    empty = {fold.name for place, fold in enumerate(log.presence_folds) if not bits >> place & 1}
    return [fold for fold in log.folds if fold.name not in empty]


def is_late_sql(log: Projection) -> str:
    """Return the condition that a state seems to be of later events only: its message is older.

    A guess, which only the pace of a page may depend on.
    """
    begin, late = _begin_and_late(log)
    return (any_of(late) & none_of(begin)).sql


def is_late(log: Projection) -> Callable[[int], bool]:
    """Return whether a state seems to be of later events only, by its bits: see `is_late_sql`."""
    begin, late = _begin_and_late(log)
    return lambda bits: bool(bits & late) and not bits & begin


def _begin_and_late(log: Projection) -> tuple[int, int]:
    masks = {fold.name: 1 << place for place, fold in enumerate(log.presence_folds)}
    return masks[log.begin_fold.name], sum(masks[fold.name] for fold in log.late_folds)
