"""ClickHouse types as declarations write them: what is in a wrapper or a named tuple."""

from __future__ import annotations

from functools import cache
from typing import Final

from clickhouse_connect.datatypes.container import Tuple
from clickhouse_connect.datatypes.registry import get_from_name

STRING: Final = "String"
BOOL: Final = "Bool"
TIME: Final = "DateTime64(3, 'UTC')"
NUMBER: Final = "UInt16"
_WRAPPERS: Final = ("LowCardinality(", "Nullable(")


def nullable(kind: str) -> str:
    """Return the type that may also be missing."""
    return kind if kind.startswith("Nullable(") else f"Nullable({kind})"


def base_type(kind: str) -> str:
    """Return the type without Nullable and LowCardinality."""
    for wrapper in _WRAPPERS:
        if kind.startswith(wrapper):
            return base_type(kind.removeprefix(wrapper)[:-1])
    return kind


@cache
def tuple_elements(kind: str) -> dict[str, str]:
    """Return the types of a named tuple's elements, by name."""
    declared = get_from_name(kind)
    assert isinstance(declared, Tuple), kind
    types = (element.name for element in declared.element_types)
    return dict(zip(declared.element_names, types, strict=True))


def declared_type(declaration: str) -> str:
    """Return the type in a column's declaration, without default and codec."""
    for word in (" CODEC", " DEFAULT", " COMMENT"):
        declaration = declaration.partition(word)[0]
    return declaration.strip()
