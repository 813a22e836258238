"""Several values as bytes of the same order, for a fold that keeps the largest, from left to right.

Times and numbers come first, each of a fixed size and its highest byte before the others, then
texts with a zero byte between them. Nothing at all is no bytes, which are smaller than any. A tuple
would be compared by allocating its values, and has some four times as many files (E-022).

In Python the values are a tuple; only the engine has the bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from projections.column_types import BOOL, NUMBER, STRING, TIME, base_type, tuple_elements
from projections.expressions import OPERATORS, Call, Evaluator, Expression, Operator, literal
from schemas.events import EPOCH, milliseconds

#: How many bytes a value of a fixed size takes.
_SIZES: Final = {TIME: 8, NUMBER: 2, BOOL: 1}
_ZEROS: Final = {TIME: EPOCH, NUMBER: 0, BOOL: False, STRING: ""}
#: The first and the last time of the engine, in milliseconds since 1970.
_MIN_MS: Final = milliseconds(datetime(1900, 1, 1, tzinfo=UTC))
_MAX_MS: Final = milliseconds(datetime(2299, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC))
#: The operators that make bytes of a value; a text that follows another begins with a zero byte.
_TO_BYTES: Final = {
    TIME: "time to bytes", NUMBER: "number to bytes", BOOL: "bool to bytes",
    STRING: "text to bytes",
}  # fmt: skip
_NEXT_TEXT: Final = "next text to bytes"
#: The operators that take a value out of bytes, put to them, its first byte and its place.
_OF_BYTES: Final = {TIME: "time of bytes", NUMBER: "number of bytes", BOOL: "bool of bytes"}
_ONLY_TEXT: Final = "only text of bytes"
_ONE_TEXT: Final = "one text of bytes"


def _without_zeros(value: Any) -> Any:
    return value.replace("\0", "") if isinstance(value, str) else value


def _same(call: Call) -> Evaluator:
    return call.arguments[0].evaluate


def _text(call: Call) -> Evaluator:
    text = call.arguments[0].evaluate
    return lambda row: _without_zeros(text(row))


def _values(call: Call) -> Evaluator:
    values = [argument.evaluate for argument in call.arguments]
    return lambda row: tuple(value(row) for value in values)


def _value(call: Call) -> Evaluator:
    whole, *_, place = (argument.evaluate for argument in call.arguments)
    return lambda row: whole(row)[place(row)]


def _is_present(call: Call) -> Evaluator:
    whole, nothing = call.arguments[0].evaluate, zero_values(call.arguments[0].kind)
    return lambda row: whole(row) != nothing


def _substring(size: int) -> str:
    return f"substring({{0}}, {{1}}, {size})"


OPERATORS.update({
    "pack": Operator("concat({all})", _values),
    "time to bytes": Operator(
        "reinterpretAsFixedString(byteSwap(toUnixTimestamp64Milli({0})))", _same
    ),
    "number to bytes": Operator("reinterpretAsFixedString(byteSwap({0}))", _same),
    "bool to bytes": Operator("reinterpretAsFixedString(toUInt8({0}))", _same),
    "text to bytes": Operator(r"replaceAll({0}, '\0', '')", _text),
    _NEXT_TEXT: Operator(r"'\0', replaceAll({0}, '\0', '')", _text),
    "time of bytes": Operator(
        f"fromUnixTimestamp64Milli(reinterpretAsInt64(reverse({_substring(8)})), 'UTC')", _value
    ),
    "number of bytes": Operator(f"reinterpretAsUInt16(reverse({_substring(2)}))", _value),
    "bool of bytes": Operator(rf"({_substring(1)} = '\x01')", _value),
    _ONLY_TEXT: Operator("substring({0}, {1})", _value),
    _ONE_TEXT: Operator(r"splitByChar('\0', substring({0}, {1}))[{2}]", _value),
    # Not `!=`, of which the engine makes `notEmpty` and then turns the plans of some queries to and
    # fro until it gives up (TOO_MANY_QUERY_PLAN_OPTIMIZATIONS).
    "is packed": Operator("({0} > '')", _is_present),
})  # fmt: skip


def packed(**values: Expression) -> Expression:
    """Return several values as one: bytes in SQL, in Python a tuple without zero bytes in texts.

    Raises `ValueError` if a text comes before a time or a number.
    """
    kinds = {name: base_type(value.kind) for name, value in values.items()}
    are_texts = [kind == STRING for kind in kinds.values()]
    if are_texts != sorted(are_texts):
        raise ValueError(f"texts are packed last: {kinds}")
    parts: list[Expression] = []
    for place, (value, kind) in enumerate(zip(values.values(), kinds.values(), strict=True)):
        follows_text = kind == STRING and any(are_texts[:place])
        parts.append(Call(_NEXT_TEXT if follows_text else _TO_BYTES[kind], value, kind=kind))
    named = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    return Call("pack", *parts, kind=f"Tuple({named})")


def packed_item(whole: Expression, name: str) -> Expression:
    """Return one of the values packed in a column. Raises `KeyError` if there is none such."""
    kinds = tuple_elements(whole.kind)
    if name not in kinds:
        raise KeyError(f"no {name!r} in {whole.kind}")
    place, kind = list(kinds).index(name), kinds[name]
    before = list(kinds.values())[:place]
    start = literal(1 + sum(_SIZES.get(each, 0) for each in before))
    if kind in _SIZES:
        return Call(_OF_BYTES[kind], whole, start, literal(place), kind=kind)
    if list(kinds.values()).count(STRING) == 1:
        return Call(_ONLY_TEXT, whole, start, literal(place), kind=kind)
    number = literal(before.count(STRING) + 1)
    return Call(_ONE_TEXT, whole, start, number, literal(place), kind=kind)


def is_packed_present(whole: Expression) -> Expression:
    """Tell whether anything is packed in a column."""
    return Call("is packed", whole)


def packed_texts(whole: Expression) -> list[Expression]:
    """Return the texts packed in a column."""
    kinds = tuple_elements(whole.kind)
    return [packed_item(whole, name) for name, kind in kinds.items() if kind == STRING]


def zero_values(kind: str) -> tuple[Any, ...]:
    """Return the values that no bytes stand for."""
    return tuple(_ZEROS[element] for element in tuple_elements(kind).values())


def unpack(data: bytes, kind: str) -> tuple[Any, ...]:
    """Return the values that bytes stand for; never raises, whatever is stored.

    A time that the engine cannot have is its first or its last, as the engine itself shows it.
    """
    if not data:
        return zero_values(kind)
    values: list[Any] = []
    kinds = list(tuple_elements(kind).values())
    for element in kinds:
        if element == STRING:
            count = kinds.count(STRING)
            texts = data.decode(errors="replace").split("\0", count - 1)
            return (*values, *texts, *[""] * (count - len(texts)))
        number = int.from_bytes(data[: _SIZES[element]], "big", signed=element == TIME)
        data = data[_SIZES[element] :]
        if element == TIME:
            values.append(EPOCH + timedelta(milliseconds=min(max(number, _MIN_MS), _MAX_MS)))
        else:
            values.append(bool(number) if element == BOOL else number)
    return tuple(values)
