"""Cursors: the position after a page, as a text that is valid for one query only.

A cursor is the last row's sort key as JSON, in base64url, with a digest of the query before it. The
digest refuses a cursor of another tenant, filter or order. It grants nothing: every page checks the
tenant of its own request.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from types import UnionType
from typing import Final

from projections.web.problems import ProblemError, invalid_parameter
from schemas.events import EPOCH, MAX_EVENT_TIME, milliseconds

_DIGEST_BYTES: Final = 8
#: Room for four texts of a row, the longest of 512 characters.
MAX_CURSOR_LENGTH: Final = 8_192
CursorItem = str | int | bool | None


def encode_cursor(query: object, position: list[CursorItem]) -> str:
    """Return the cursor of a position in the answer to a query, which its `repr` identifies."""
    content = json.dumps(position, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_digest(query, content) + content).decode().rstrip("=")


def decode_cursor(
    query: object, cursor: str, types: Sequence[type | UnionType]
) -> list[CursorItem]:
    """Return the position of a cursor, whose items have these types.

    Raises a 422 problem if it is no cursor of this query.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        digest, content = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        position = json.loads(content)
        json.dumps(position, ensure_ascii=False).encode()  # half a character is no text
    except (binascii.Error, ValueError, RecursionError):
        raise _refusal() from None
    has_types = isinstance(position, list) and all(map(isinstance, position, types))
    if not has_types or len(position) != len(types) or digest != _digest(query, content):
        raise _refusal()
    return list(position)


def cursor_time(milliseconds_since_epoch: object) -> datetime:
    """Return the time of a cursor's item. Raises a 422 problem if no log can have it."""
    latest = milliseconds(MAX_EVENT_TIME)
    if (
        not isinstance(milliseconds_since_epoch, int)
        or not -latest < milliseconds_since_epoch < latest
    ):
        raise invalid_parameter("cursor", "none of this question")
    return EPOCH + timedelta(milliseconds=milliseconds_since_epoch)


def _refusal() -> ProblemError:
    detail = "none of this question; take `next` of an answer, and ask the same again"
    return invalid_parameter("cursor", detail)


def _digest(query: object, content: bytes) -> bytes:
    identity = repr(query).encode("utf-8", "surrogatepass")
    return blake2b(content, key=blake2b(identity).digest(), digest_size=_DIGEST_BYTES).digest()
