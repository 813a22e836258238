"""Dead letters as pages, for operators: why records could not be read, and their bytes."""

from __future__ import annotations

import base64
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse

from projections.queries import dead_letters as dead
from projections.web.api import dead_letters
from projections.web.pages.auth import ElsewhereError, Operator
from projections.web.pages.render import page
from projections.web.pages.url import Bar
from projections.web.params import CursorQuery

router = APIRouter(include_in_schema=False)
_PAGE: Final = 50
#: Bytes of a record that are shown.
_TEXT: Final = 65_536
_HEX: Final = 4_096
_LINE: Final = 16


@router.get("/dead-letters")
def listing(
    request: Request,
    viewer: Operator,
    topic: Annotated[str, Query(max_length=249)] = "",
    reason: Annotated[str, Query(max_length=200)] = "",
    replayed: bool = False,  # noqa: FBT001, FBT002 the name of the parameter
    cursor: CursorQuery = None,
) -> HTMLResponse:
    """Show dead letters by reason, and the newest."""
    bar = Bar.of(request)
    if bar.tidy() != bar:
        raise ElsewhereError(str(bar.tidy()))
    reader = viewer.parts.reader
    rows, following = dead_letters.paged(
        reader, topic=topic, reason=reason, replayed=replayed, limit=_PAGE, cursor=cursor
    )
    with reader.asking() as client:
        reasons = dead.reasons(client, reader.name, replayed=replayed)
    return page(
        "letters", viewer, bar=bar, rows=rows, reasons=reasons,
        next=bar.put(cursor=following) if following else None,
        topic=topic, reason=reason, replayed=replayed,
    )  # fmt: skip


@router.get("/dead-letters/{topic}/{partition}/{offset}/{element}")
def letter(
    viewer: Operator,
    topic: Annotated[str, Path(max_length=249)],
    partition: dead_letters.Small,
    offset: Annotated[int, Path(ge=-1, lt=2**63)],
    element: dead_letters.Small,
) -> HTMLResponse:
    """Show a dead letter with its bytes, as text and in hexadecimal."""
    place = dead.Place(topic, partition, offset, element)
    row = dead_letters.found(viewer.parts.reader, place)
    raw = base64.b64decode(row["raw"])
    return page(
        "letter", viewer, row=row, headers=dict(row["headers"]),
        text=raw[:_TEXT].decode("utf-8", "replace"),
        hex=dump(raw[:_HEX]), more_text=max(0, len(raw) - _TEXT), more_hex=max(0, len(raw) - _HEX),
    )  # fmt: skip


def dump(raw: bytes) -> str:
    """Return bytes in hexadecimal, sixteen a line, with what is plain text beside."""
    lines = []
    for start in range(0, len(raw), _LINE):
        some = raw[start : start + _LINE]
        plain = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in some)
        lines.append(f"{start:06x}  {some.hex(' '):<{3 * _LINE}} {plain}")
    return "\n".join(lines)
