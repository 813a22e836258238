"""Expressions written once, as trees: each evaluates in Python and renders as ClickHouse SQL.

A fold says with them which events count and what it takes of each; a status rule says what must
hold. The nodes are `Column`, `Literal` and `Call`; what an operator means in both languages stands
in one table, `OPERATORS`. Two trees that are built alike are equal; a tree says which columns it
reads, and can be rewritten.

No expression yields SQL's third truth value: a comparison with something missing is false in both
languages, so that Python and SQL cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from projections.column_types import BOOL, NUMBER, STRING, base_type, nullable, tuple_elements

Row = Mapping[str, Any]
Evaluator = Callable[[Row], Any]


def quote(text: str) -> str:
    """Return `text` as a ClickHouse string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


@dataclass(frozen=True)
class Expression:
    """A value computed of a row, of ClickHouse type `kind`."""

    kind: str

    @property
    def sql(self) -> str:
        """The expression in SQL."""
        raise NotImplementedError

    @cached_property
    def evaluate(self) -> Evaluator:
        """The function that computes the value of a row."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[Expression, ...]:
        """The expressions that this one is made of directly."""
        return ()

    def walk(self) -> Iterator[Expression]:
        """Yield this expression and all that it is made of, from left to right."""
        yield self
        for part in self.parts:
            yield from part.walk()

    @property
    def columns(self) -> frozenset[str]:
        """The names of the columns that it reads."""
        return frozenset(each.name for each in self.walk() if isinstance(each, Column))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that stand in it."""
        literals = (each.value for each in self.walk() if isinstance(each, Literal))
        return tuple(value for value in literals if isinstance(value, str))

    def rewrite(self, change: Callable[[Expression], Expression]) -> Expression:
        """Return the tree with every node changed, from the leaves up."""
        return change(self)

    def __and__(self, other: Expression) -> Expression:
        return Call("and", self, other)

    def __or__(self, other: Expression) -> Expression:
        return Call("or", self, other)

    def __invert__(self) -> Expression:
        return Call("not", self)

    def __lt__(self, other: Expression) -> Expression:
        """Tell whether both are there and this is smaller."""
        return Call("less", self, other)

    def __gt__(self, other: Expression) -> Expression:
        return other < self

    def is_in(self, *values: str) -> Expression:
        """Tell whether this text is one of `values`."""
        return Call("in", self, *map(literal, values))

    @property
    def is_set(self) -> Expression:
        """Tell whether this may-be-missing value is there."""
        return Call("is set", self)

    @property
    def is_true(self) -> Expression:
        """Tell whether this may-be-missing truth value is there and true."""
        return Call("is true", self)

    @property
    def is_false(self) -> Expression:
        """Tell whether this may-be-missing truth value is there and false."""
        return Call("is false", self)

    @property
    def is_nonempty(self) -> Expression:
        """Tell whether a text is not empty, or a number not zero."""
        is_text = base_type(self.kind) == STRING
        return Call("is given text" if is_text else "is given number", self)

    @property
    def text(self) -> Expression:
        """A number as text, zero as the empty text."""
        return Call("number as text", self, kind=STRING)

    @property
    def size(self) -> Expression:
        """How many elements an array has."""
        return Call("size", self, kind="UInt64")

    @property
    def in_order(self) -> Expression:
        """An array in order, so that equal sets are equal bytes."""
        return Call("in order", self, kind=self.kind)

    @property
    def assumed_set(self) -> Expression:
        """A may-be-missing value as one that is there; use only where it is."""
        return Call("assumed set", self, kind=base_type(self.kind))


@dataclass(frozen=True)
class Column(Expression):
    """The value of a row's column."""

    name: str

    @property
    def sql(self) -> str:
        """The name of the column."""
        return self.name

    @cached_property
    def evaluate(self) -> Evaluator:
        """The function that takes the value out of a row."""
        name = self.name
        return lambda row: row[name]


@dataclass(frozen=True)
class Literal(Expression):
    """A constant."""

    value: str | int | bool | None

    @property
    def sql(self) -> str:
        """The constant as SQL writes it."""
        match self.value:
            case None:
                return "NULL"
            case bool():
                return str(self.value).lower()
            case str():
                return quote(self.value)
            case number:
                return str(number)

    @cached_property
    def evaluate(self) -> Evaluator:
        """The function that returns the constant."""
        value = self.value
        return lambda _: value


@dataclass(frozen=True, init=False)
class Call(Expression):
    """An operator of `OPERATORS`, put to the values of other expressions."""

    operator: str
    arguments: tuple[Expression, ...]

    def __init__(self, operator: str, *arguments: Expression, kind: str = BOOL) -> None:
        """Take the operator's name and what it is put to. Raises `KeyError` for an unknown one."""
        assert operator in OPERATORS, operator
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "operator", operator)
        object.__setattr__(self, "arguments", arguments)

    @property
    def sql(self) -> str:
        """The operator's SQL, with its arguments in their places."""
        arguments = [argument.sql for argument in self.arguments]
        everything, others = ", ".join(arguments), ", ".join(arguments[1:])
        return OPERATORS[self.operator].sql.format(*arguments, all=everything, others=others)

    @cached_property
    def evaluate(self) -> Evaluator:
        """The operator's function, put to the functions of its arguments."""
        return OPERATORS[self.operator].evaluator(self)

    @property
    def parts(self) -> tuple[Expression, ...]:
        """The arguments."""
        return self.arguments

    def rewrite(self, change: Callable[[Expression], Expression]) -> Expression:
        """Return the tree with every node changed, from the leaves up."""
        arguments = (argument.rewrite(change) for argument in self.arguments)
        return change(Call(self.operator, *arguments, kind=self.kind))


class Operator(NamedTuple):
    """What an operator means: a template of SQL, and what makes a Python function of a call.

    In the template `{0}` is the first argument, `{all}` are all of them with commas between,
    `{others}` all but the first. A condition is false where an argument that it `needs`, by its
    number, is missing or an empty set.
    """

    sql: str
    evaluator: Callable[[Call], Evaluator]
    needs: tuple[int, ...] = ()


def eager(function: Callable[..., Any]) -> Callable[[Call], Evaluator]:
    """Return what makes a function of a call, whose arguments are all computed first."""

    def evaluator(call: Call) -> Evaluator:
        functions = [argument.evaluate for argument in call.arguments]
        match functions:
            case [only]:
                return lambda row: function(only(row))
            case [first, second]:
                return lambda row: function(first(row), second(row))
            case _:
                return lambda row: function(*(each(row) for each in functions))

    return evaluator


def _and(call: Call) -> Evaluator:
    left, right = (argument.evaluate for argument in call.arguments)
    return lambda row: left(row) and right(row)


def _or(call: Call) -> Evaluator:
    left, right = (argument.evaluate for argument in call.arguments)
    return lambda row: left(row) or right(row)


def _either(call: Call) -> Evaluator:
    condition, then, otherwise = (argument.evaluate for argument in call.arguments)
    return lambda row: then(row) if condition(row) else otherwise(row)


def _first_set(call: Call) -> Evaluator:
    functions = [argument.evaluate for argument in call.arguments]

    def of(row: Row) -> object:
        return next((value for each in functions if (value := each(row)) is not None), None)

    return of


def _first_nonempty(call: Call) -> Evaluator:
    functions = [argument.evaluate for argument in call.arguments]
    return lambda row: next((text for each in functions if (text := each(row))), "")


def _first_that_holds(call: Call) -> Evaluator:
    functions = [argument.evaluate for argument in call.arguments]
    cases = list(zip(functions[:-1:2], functions[1:-1:2], strict=True))
    last = functions[-1]

    def of(row: Row) -> object:
        return next((value for condition, value in cases if condition(row)), last)(row)

    return of


def _is_in(call: Call) -> Evaluator:
    value, values = call.arguments[0].evaluate, frozenset(call.texts)
    return lambda row: value(row) in values


def _lookup(call: Call) -> Evaluator:
    key, keys, values = call.arguments
    key_of, table = key.evaluate, dict(zip(keys.texts, values.texts, strict=True))
    return lambda row: table.get(key_of(row), "")


def _less(left: Any, right: Any) -> bool:
    return left is not None and right is not None and left < right


#: The operators, by name. A module that needs one of its own adds it (`presence`, `email_log`).
OPERATORS: Final[dict[str, Operator]] = {
    "and": Operator("({0} AND {1})", _and),
    "or": Operator("({0} OR {1})", _or),
    "not": Operator("(NOT {0})", eager(lambda value: not value)),
    "less": Operator("ifNull({0} < {1}, false)", eager(_less), needs=(0, 1)),
    "in": Operator("({0} IN ({others}))", _is_in),
    "begins with": Operator("startsWith({0}, {1})", eager(str.startswith)),
    "is set": Operator("isNotNull({0})", eager(lambda value: value is not None)),
    "is true": Operator("ifNull({0}, false)", eager(lambda value: value is True)),
    "is false": Operator("NOT ifNull({0}, true)", eager(lambda value: value is False)),
    "is given text": Operator("({0} != '')", eager(bool)),
    "is given number": Operator("({0} != 0)", eager(bool)),
    "number as text": Operator(
        "if({0} = 0, '', toString({0}))", eager(lambda value: str(value or ""))
    ),
    "size": Operator("length({0})", eager(len)),
    "in order": Operator("arraySort({0})", eager(sorted)),
    "assumed set": Operator("assumeNotNull({0})", eager(lambda value: value)),
    "either": Operator("if({0}, {1}, {2})", _either),
    "first set": Operator("coalesce({all})", _first_set),
    "first given": Operator("arrayFirst(x -> x != '', [{all}])", _first_nonempty),
    "first that holds": Operator("multiIf({all})", _first_that_holds),
    "words": Operator(
        "arrayStringConcat(arrayFilter(x -> x != '', [{others}]), {0})",
        eager(lambda between, *texts: between.join(filter(None, texts))),
    ),
    "array": Operator("[{all}]", eager(lambda *values: list(values))),
    "lookup": Operator("transform({0}, {1}, {2}, '')", _lookup),
    "tuple": Operator("tuple({all})", eager(lambda *values: values)),
    "tuple element": Operator("tupleElement({0}, {1})", eager(lambda whole, n: whole[n - 1])),
    "to UInt16": Operator("toUInt16({0})", eager(lambda value: value)),
}


def column(name: str, kind: str) -> Column:
    """Return the value of a row's column."""
    return Column(kind, name)


def literal(value: str | int | bool | None) -> Literal:  # noqa: FBT001
    """Return a constant."""
    kinds = {bool: BOOL, int: NUMBER, str: STRING}
    return Literal("Nullable(Nothing)" if value is None else kinds[type(value)], value)


def either(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    """Return one of two values."""
    may_be_missing = isinstance(otherwise, Literal) and otherwise.value is None
    kind = nullable(then.kind) if may_be_missing else then.kind
    return Call("either", condition, then, otherwise, kind=kind)


def first_set(*values: Expression) -> Expression:
    """Return the first value that is there, or nothing."""
    return Call("first set", *values, kind=values[0].kind)


def first_nonempty(*texts: Expression) -> Expression:
    """Return the first text that is not empty, or the empty text."""
    return Call("first given", *texts, kind=STRING)


def words(*texts: Expression | str, between: str = " ") -> Expression:
    """Return the texts that are not empty, with a space (or what is asked for) between each."""
    parts = (literal(text) if isinstance(text, str) else text for text in texts)
    return Call("words", literal(between), *parts, kind=STRING)


def first_that_holds(cases: Sequence[tuple[Expression, Expression]]) -> Expression:
    """Return the value beside the first condition that holds; the last is taken to hold always."""
    pairs = [part for case in cases[:-1] for part in case]
    last = cases[-1][1]
    return Call("first that holds", *pairs, last, kind=last.kind)


def lookup(key: Expression, table: Mapping[str, str]) -> Expression:
    """Return what `table` has for a text, or the empty text."""
    keys = Call("array", *map(literal, table), kind=f"Array({STRING})")
    values = Call("array", *map(literal, table.values()), kind=f"Array({STRING})")
    return Call("lookup", key, keys, values, kind=STRING)


def together(**items: Expression) -> Expression:
    """Return several values as one, compared from left to right; `item` takes them apart."""
    kinds = ", ".join(f"{name} {base_type(value.kind)}" for name, value in items.items())
    return Call("tuple", *items.values(), kind=f"Tuple({kinds})")


def item(whole: Expression, name: str) -> Expression:
    """Return one of the values put `together`, by its name.

    Raises `KeyError` if there is none of that name.
    """
    kinds = tuple_elements(whole.kind)
    if name not in kinds:
        raise KeyError(f"no {name!r} in {whole.kind}")
    number = 1 + list(kinds).index(name)
    return Call("tuple element", whole, literal(number), kind=kinds[name])
