"""Values of which a log keeps the largest, from left to right: packed as bytes of the same order.

Times and numbers come first, each of a fixed size and its highest byte before the others, then
texts with a zero byte between them. Nothing at all is no bytes, which are smaller than any. As a
tuple the engine would compare each by allocating its values: packed, facts are folded in 2.7 rather
than 3.5 µs, and states merged in 6.1 rather than 14.1 µs a row, where a tuple has 49 files packed
has 13.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from projections.expressions import BOOL, NUMBER, STRING, TIME, Expression, kinds_of, plain
from schemas.events import EPOCH, milliseconds

#: Bytes of what is of a fixed size.
_SIZES: Final = {TIME: 8, NUMBER: 2, BOOL: 1}
#: How the engine makes bytes of a value, and a value of bytes.
_TO_BYTES: Final = {
    TIME: "reinterpretAsFixedString(byteSwap(toUnixTimestamp64Milli({})))",
    NUMBER: "reinterpretAsFixedString(byteSwap({}))",
    BOOL: "reinterpretAsFixedString(toUInt8({}))",
}
_OF_BYTES: Final = {
    TIME: "fromUnixTimestamp64Milli(reinterpretAsInt64(reverse({})), 'UTC')",
    NUMBER: "reinterpretAsUInt16(reverse({}))",
    BOOL: "({} = '\\x01')",
}
_ZEROS: Final = {TIME: EPOCH, NUMBER: 0, BOOL: False, STRING: ""}


def packed(**values: Expression) -> Expression:
    """Return several values as one: bytes in SQL, in Python a tuple without zero bytes in texts.

    Raises `ValueError` if a text comes before a time or a number.
    """
    named = {name: plain(value.kind) for name, value in values.items()}
    kind = f"Tuple({', '.join(f'{name} {each}' for name, each in named.items())})"
    parts = tuple(values.values())
    listed = [(part.sql, each) for part, each in zip(parts, named.values(), strict=True)]
    return Expression(
        packed_sql(listed), kind, lambda row: tuple(_without_zeros(part.of(row)) for part in parts)
    )


def packed_sql(values: list[tuple[str, str]]) -> str:
    """Return the bytes of values, each given as SQL and its type. Raises as `packed` does."""
    texts = [kind == STRING for _, kind in values]
    if texts != sorted(texts):
        raise ValueError(f"texts are packed last: {values}")
    parts = []
    for place, (sql, kind) in enumerate(values):
        if sum(texts[:place]):
            parts.append(r"'\0'")
        parts.append(_TO_BYTES.get(kind, r"replaceAll({}, '\0', '')").format(sql))
    return f"concat({', '.join(parts)})"


def item(whole: Expression, name: str) -> Expression:
    """Return one of the values packed in a column. Raises `KeyError` if there is none such."""
    kinds = kinds_of(whole.kind)
    if name not in kinds:
        raise KeyError(f"no {name!r} in {whole.kind}")
    place, kind = list(kinds).index(name), kinds[name]
    before = list(kinds.values())[:place]
    start = 1 + sum(_SIZES.get(each, 0) for each in before)
    if kind in _SIZES:
        sql = _OF_BYTES[kind].format(f"substring({whole.sql}, {start}, {_SIZES[kind]})")
    else:
        sql = f"substring({whole.sql}, {start})"
        if list(kinds.values()).count(STRING) > 1:
            sql = rf"splitByChar('\0', {sql})[{before.count(STRING) + 1}]"
    return Expression(sql, kind, lambda row: whole.of(row)[place])


def texts_of(name: str, kind: str) -> list[str]:
    """Return the texts packed in a column, as SQL."""
    whole = Expression(name, kind, lambda row: row[name])
    return [item(whole, each).sql for each, part in kinds_of(kind).items() if part == STRING]


def nothing(kind: str) -> tuple[Any, ...]:
    """Return the values that no bytes stand for."""
    return tuple(_ZEROS[each] for each in kinds_of(kind).values())


def pack(values: tuple[Any, ...], kind: str) -> bytes:
    """Return the bytes of values, as the engine would make them."""
    if values == nothing(kind):
        return b""
    fixed, texts = b"", []
    for value, each in zip(values, kinds_of(kind).values(), strict=True):
        if each == STRING:
            texts.append(_without_zeros(value).encode())
        else:
            number = milliseconds(value) if isinstance(value, datetime) else int(value)
            fixed += number.to_bytes(_SIZES[each], "big")
    return fixed + b"\0".join(texts)


def unpack(data: bytes, kind: str) -> tuple[Any, ...]:
    """Return the values that bytes stand for."""
    if not data:
        return nothing(kind)
    values: list[Any] = []
    kinds = list(kinds_of(kind).values())
    for each in kinds:
        if each == STRING:
            return (*values, *data.decode(errors="replace").split("\0", kinds.count(STRING) - 1))
        number = int.from_bytes(data[: _SIZES[each]], "big")
        data = data[_SIZES[each] :]
        if each == TIME:
            values.append(EPOCH + timedelta(milliseconds=number))
        else:
            values.append(bool(number) if each == BOOL else number)
    return tuple(values)


def _without_zeros(value: Any) -> Any:
    return value.replace("\0", "") if isinstance(value, str) else value
