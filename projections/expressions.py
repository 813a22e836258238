"""Expressions written once: each evaluates in Python and renders as ClickHouse SQL.

A fold says with them which facts count and what it takes of each; a rule says what must hold.
An expression never yields SQL's third truth value: a comparison with something missing is false in
both languages, so that Python and SQL cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Row = Mapping[str, Any]

STRING: Final = "String"
BOOL: Final = "Bool"
TIME: Final = "DateTime64(3, 'UTC')"
NUMBER: Final = "UInt16"


def nullable(kind: str) -> str:
    """Return the ClickHouse type that may also be missing."""
    return kind if kind.startswith("Nullable(") else f"Nullable({kind})"


def plain(kind: str) -> str:
    """Return the ClickHouse type without Nullable and LowCardinality."""
    for wrapper in ("LowCardinality(", "Nullable("):
        if kind.startswith(wrapper):
            return plain(kind.removeprefix(wrapper)[:-1])
    return kind


def quote(text: str) -> str:
    """Return `text` as a ClickHouse string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A value computed of a row, in Python (`of`) and in SQL (`sql`), of ClickHouse type `kind`."""

    sql: str
    kind: str
    of: Callable[[Row], Any]

    def __and__(self, other: Expression) -> Expression:
        return Expression(
            f"({self.sql} AND {other.sql})", BOOL, lambda row: self.of(row) and other.of(row)
        )

    def __or__(self, other: Expression) -> Expression:
        return Expression(
            f"({self.sql} OR {other.sql})", BOOL, lambda row: self.of(row) or other.of(row)
        )

    def __invert__(self) -> Expression:
        return Expression(f"(NOT {self.sql})", BOOL, lambda row: not self.of(row))

    def __lt__(self, other: Expression) -> Expression:
        """Tell whether both are there and this is smaller."""

        def of(row: Row) -> bool:
            left, right = self.of(row), other.of(row)
            return left is not None and right is not None and left < right

        return Expression(f"ifNull({self.sql} < {other.sql}, false)", BOOL, of)

    def __gt__(self, other: Expression) -> Expression:
        return other < self

    def is_in(self, *values: str) -> Expression:
        """Tell whether this text is one of `values`."""
        wanted = frozenset(values)
        listed = ", ".join(map(quote, values))
        return Expression(f"({self.sql} IN ({listed}))", BOOL, lambda row: self.of(row) in wanted)

    @property
    def is_set(self) -> Expression:
        """Tell whether this may-be-missing value is there."""
        return Expression(f"isNotNull({self.sql})", BOOL, lambda row: self.of(row) is not None)

    @property
    def is_true(self) -> Expression:
        """Tell whether this may-be-missing truth value is there and true."""
        return Expression(f"ifNull({self.sql}, false)", BOOL, lambda row: self.of(row) is True)

    @property
    def is_false(self) -> Expression:
        """Tell whether this may-be-missing truth value is there and false."""
        return Expression(f"NOT ifNull({self.sql}, true)", BOOL, lambda row: self.of(row) is False)

    @property
    def given(self) -> Expression:
        """Tell whether a text is not empty, or a number not zero."""
        empty = "''" if plain(self.kind) == STRING else "0"
        return Expression(f"({self.sql} != {empty})", BOOL, lambda row: bool(self.of(row)))

    @property
    def text(self) -> Expression:
        """Return a number as text, zero as the empty text."""
        return Expression(
            f"if({self.sql} = 0, '', toString({self.sql}))",
            STRING,
            lambda row: str(self.of(row) or ""),
        )

    @property
    def size(self) -> Expression:
        """Return how many elements an array has."""
        return Expression(f"length({self.sql})", "UInt64", lambda row: len(self.of(row)))

    @property
    def ordered(self) -> Expression:
        """Return an array in order, so that equal sets are equal bytes."""
        return Expression(f"arraySort({self.sql})", self.kind, lambda row: sorted(self.of(row)))

    @property
    def present(self) -> Expression:
        """Return a may-be-missing value as one that is there; use only where it is."""
        return Expression(f"assumeNotNull({self.sql})", plain(self.kind), self.of)


def column(name: str, kind: str) -> Expression:
    """Return the value of a row's column."""
    return Expression(name, kind, lambda row: row[name])


def literal(value: str | int | bool | None) -> Expression:  # noqa: FBT001
    """Return a constant."""
    match value:
        case None:
            return Expression("NULL", "Nullable(Nothing)", lambda _: None)
        case bool():
            return Expression(str(value).lower(), BOOL, lambda _: value)
        case int():
            return Expression(str(value), NUMBER, lambda _: value)
        case str():
            return Expression(quote(value), STRING, lambda _: value)


def either(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    """Return one of two values."""
    kind = nullable(then.kind) if otherwise.sql == "NULL" else then.kind
    return Expression(
        f"if({condition.sql}, {then.sql}, {otherwise.sql})",
        kind,
        lambda row: then.of(row) if condition.of(row) else otherwise.of(row),
    )


def first_set(*values: Expression) -> Expression:
    """Return the first value that is there, or nothing."""

    def of(row: Row) -> object:
        return next((found for value in values if (found := value.of(row)) is not None), None)

    return Expression(f"coalesce({', '.join(v.sql for v in values)})", values[0].kind, of)


def first_given(*texts: Expression) -> Expression:
    """Return the first text that is not empty, or the empty text."""
    listed = ", ".join(text.sql for text in texts)

    def of(row: Row) -> str:
        return next((found for text in texts if (found := text.of(row))), "")

    return Expression(f"arrayFirst(x -> x != '', [{listed}])", STRING, of)


def words(*texts: Expression | str, between: str = " ") -> Expression:
    """Return the texts that are not empty, with a space (or what is asked for) between each."""
    parts = [literal(text) if isinstance(text, str) else text for text in texts]
    listed = ", ".join(part.sql for part in parts)

    def of(row: Row) -> str:
        return between.join(found for part in parts if (found := part.of(row)))

    given = f"arrayFilter(x -> x != '', [{listed}])"
    return Expression(f"arrayStringConcat({given}, {quote(between)})", STRING, of)


def first_that_holds(cases: Sequence[tuple[Expression, Expression]]) -> Expression:
    """Return the value beside the first condition that holds; the last is taken to hold always."""

    def of(row: Row) -> object:
        return next(value.of(row) for condition, value in cases if condition.of(row))

    pairs = ", ".join(f"{condition.sql}, {value.sql}" for condition, value in cases[:-1])
    last = cases[-1][1]
    return Expression(f"multiIf({pairs}, {last.sql})", last.kind, of)


def lookup(key: Expression, table: Mapping[str, str]) -> Expression:
    """Return what `table` has for a text, or the empty text."""
    keys = ", ".join(map(quote, table))
    values = ", ".join(map(quote, table.values()))
    return Expression(
        f"transform({key.sql}, [{keys}], [{values}], '')",
        STRING,
        lambda row: table.get(key.of(row), ""),
    )


def together(**items: Expression) -> Expression:
    """Return several values as one, compared from left to right; `item` takes them apart."""
    kinds = ", ".join(f"{name} {plain(value.kind)}" for name, value in items.items())
    listed = ", ".join(value.sql for value in items.values())
    parts = tuple(items.values())
    return Expression(
        f"tuple({listed})", f"Tuple({kinds})", lambda row: tuple(part.of(row) for part in parts)
    )


def item(whole: Expression, name: str) -> Expression:
    """Return one of the values put `together`, by its name.

    Raises `KeyError` if there is none of that name.
    """
    kinds = kinds_of(whole.kind)
    if name not in kinds:
        raise KeyError(f"no {name!r} in {whole.kind}")
    place = list(kinds).index(name)
    return Expression(
        f"tupleElement({whole.sql}, {place + 1})", kinds[name], lambda row: whole.of(row)[place]
    )


def kinds_of(kind: str) -> dict[str, str]:
    """Return the types of the values of a named tuple, by name."""
    listed = split_top(kind.removeprefix("Tuple(")[:-1])
    return {name: each for name, _, each in (part.partition(" ") for part in listed)}


def split_top(listed: str) -> list[str]:
    """Split a list of types at the commas that are not inside brackets."""
    parts, depth = [""], 0
    for character in listed:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def event_number(event_id: Expression) -> Expression:
    """Return the first half of a fingerprint as a number: a set of them counts distinct facts."""
    return Expression(
        f"reinterpretAsUInt64(reverse(unhex(substring({event_id.sql}, 1, 16))))",
        "UInt64",
        lambda row: int(event_id.of(row)[:16], 16),
    )


def resent_and_delivered(
    resends: Expression, attempt: Expression, bounced_at: Expression, delivered_at: Expression
) -> Expression:
    """Tell whether a later attempt was sent after a bounce, and something was delivered after that.

    `resends` is a set of (attempt, time sent); `delivered_at` the last sign of a delivery.
    """
    sql = (
        f"arrayExists(sent -> sent.1 > {attempt.sql} AND sent.2 > {bounced_at.sql} "
        f"AND ifNull(sent.2 <= {delivered_at.sql}, false), {resends.sql})"
    )

    def of(row: Row) -> bool:
        tried, bounced, delivered = attempt.of(row), bounced_at.of(row), delivered_at.of(row)
        return any(
            sent[0] > tried and sent[1] > bounced and delivered is not None and sent[1] <= delivered
            for sent in resends.of(row)
        )

    return Expression(sql, BOOL, of)
