"""Where a request's statement ends and its data begin, by ClickHouse's rules for HTTP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deploy.local.engine import EngineError

if TYPE_CHECKING:
    from deploy.local.engine import Source

#: How far into a body the statement of an insert with data may reach.
WINDOW: Final = 256 * 1024
SYNTAX_ERROR: Final = 62

_INSERT: Final = re.compile(
    rb"(?:\s|/\*.*?\*/|--[^\n]*\n)*INSERT\s+INTO\b", re.IGNORECASE | re.DOTALL
)
_QUOTED: Final = rb"'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\])*\""
# Only the line feed (and spaces) right after the format's name is cut off: binary data that follow
# may themselves begin with white space.
_FORMAT: Final = re.compile(
    rb"(?P<statement>(?:" + _QUOTED + rb"|[^'`\"])*?)\bFORMAT\s+(?P<form>\w+)[ \t]*(?:\r?\n|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_LAST_FORMAT: Final = re.compile(
    rb"\bFORMAT\s+(\w+)\s*(?:\bSETTINGS\b[^'`\"]*)?[\s;]*\Z", re.IGNORECASE
)
_VALUES: Final = re.compile(rb"\bVALUES\s*\Z", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Insert:
    """An insert whose data are sent along: its statement without the format, and its data."""

    text: str
    form: str
    data: Source


def separate(query: bytes, body: Source) -> Insert | str:
    """Take a request apart: an insert with its data, or any other statement.

    `query` is what stands in the URL or a form field; it may be empty.
    """
    head = body.read(WINDOW)
    if _INSERT.match(query):
        if found := _LAST_FORMAT.search(query):
            return _insert(query[: found.start()], found[1], head, body)
        if head.strip():
            return _insert(_VALUES.sub(b"", query.rstrip()), b"Values", head, body)
    elif not query and _INSERT.match(head) and (found := _FORMAT.match(head)):
        return _insert(found["statement"], found["form"], head[found.end() :], body)
    statement = query + head + body.read()
    try:
        return statement.decode()
    except UnicodeDecodeError as error:
        raise EngineError(f"The statement is not UTF-8: {error}", SYNTAX_ERROR) from None


def last_format(query: str) -> str:
    """Return the format that a query names, or nothing."""
    found = _LAST_FORMAT.search(query.encode())
    return found[1].decode() if found else ""


def _insert(text: bytes, form: bytes, head: bytes, rest: Source) -> Insert:
    return Insert(text=text.decode(), form=form.decode(), data=_Joined(head, rest))


class _Joined:
    """What was read already, then the rest."""

    def __init__(self, head: bytes, rest: Source) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1, /) -> bytes:
        head, self._head = self._head, b""
        return head or self._rest.read(size)
