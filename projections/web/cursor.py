"""Cursors: where a page ended, as a text that only the same question takes back.

It is the key set of the last row in base64url, under a digest of the question: a cursor of another
sort, filter or tenant is refused rather than answered with a page of nothing in particular. It
carries no right to anything: every page asks for the tenant of its own request.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from hashlib import blake2b
from types import UnionType
from typing import Final

from projections.web.problems import ProblemError, wrong

_DIGEST: Final = 8
#: The longest cursor that is read: four texts of a row, the longest of 512 characters.
LONGEST: Final = 8_192
Item = str | int | None


def encode(question: object, place: list[Item]) -> str:
    """Return the cursor of a place in the answer to a question, whose `repr` tells it."""
    content = json.dumps(place, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_digest(question, content) + content).decode().rstrip("=")


def decode(question: object, cursor: str, shape: Sequence[type | UnionType]) -> list[Item]:
    """Return the place of a cursor, of the types in `shape`.

    Raises a 422 problem for what is none of this question.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        digest, content = raw[:_DIGEST], raw[_DIGEST:]
        place = json.loads(content)
    except (binascii.Error, ValueError, RecursionError):
        raise _refused() from None
    fits = isinstance(place, list) and all(map(isinstance, place, shape))
    if not fits or len(place) != len(shape) or digest != _digest(question, content):
        raise _refused()
    return list(place)


def _refused() -> ProblemError:
    detail = "none of this question; take `next` of an answer, and ask the same again"
    return wrong("cursor", detail)


def _digest(question: object, content: bytes) -> bytes:
    asked = repr(question).encode("utf-8", "surrogatepass")
    return blake2b(content, key=blake2b(asked).digest(), digest_size=_DIGEST).digest()
