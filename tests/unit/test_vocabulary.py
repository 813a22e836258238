"""The words of the code: one word for one thing, as the README's glossary has it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path for room in ("schemas", "projections", "processor") for path in (ROOT / room).rglob("*.py")
)
#: Words that were once several names for one thing, or name nothing in particular.
REFUSED = frozenset({
    "asked", "asker", "announce", "bury", "dialect", "fact", "facts", "found", "given", "hear",
    "heard", "listed", "looked", "looks", "patience", "patiently", "remembered", "said", "say",
    "seen", "standing", "tell", "told", "trace", "traces", "trouble", "wanted", "whose",
})  # fmt: skip
#: Names that are fields on the wire.
WIRE_NAMES = frozenset({"facts", "listed", "supplemental_trace"})


def names_in(tree):
    """Yield every name that a module defines, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.alias(asname=str(name)):
                yield name, node.lineno


def words_of(name):
    """Return the words of a name, in snake_case or CamelCase."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_has_a_word_that_is_not_of_the_vocabulary(path):
    refused = [
        f"{path.name}:{line} {name}"
        for name, line in names_in(ast.parse(path.read_text("utf-8")))
        if REFUSED.intersection(words_of(name)) and name not in WIRE_NAMES
    ]
    assert not refused
