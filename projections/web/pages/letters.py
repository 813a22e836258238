"""Dead letters as pages, for operators: why records could not be read, and their bytes."""

from __future__ import annotations

import base64
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse

from projections import dead
from projections.web.asked import moment_of
from projections.web.cursor import decode, encode
from projections.web.pages.bar import Bar
from projections.web.pages.render import page
from projections.web.pages.viewer import ElsewhereError, Operator
from projections.web.problems import ProblemError
from projections.web.values import CursorQuery
from schemas.events import milliseconds

router = APIRouter(include_in_schema=False)
_PAGE: Final = 50
#: Bytes of a record that are shown.
_TEXT: Final = 65_536
_HEX: Final = 4_096
_LINE: Final = 16
_Small = Annotated[int, Path(ge=-1, lt=2**31)]


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
    identity, last = ("page", topic, reason, replayed), None
    if cursor is not None:
        died_at, *place = decode(identity, cursor, (int, str, int, int, int))
        last = dead.Last(moment_of(died_at), dead.Place(*place))  # type: ignore[arg-type]
    reader = viewer.parts.reader
    with reader.asking() as client:
        rows = list(
            dead.listed(
                client, reader.name, topic=topic, reason=reason, replayed=replayed,
                limit=_PAGE + 1, brief=True, after=last,
            )
        )  # fmt: skip
        reasons = dead.reasons(client, reader.name, replayed=replayed)
    following = None
    if len(rows) > _PAGE:
        row = rows[_PAGE - 1]
        at = [row[f"source_{name}"] for name in ("topic", "partition", "offset")]
        place = [milliseconds(row["died_at"]), *at, row["element"]]
        following = bar.put(cursor=encode(identity, place))
    return page(
        "letters", viewer, bar=bar, rows=rows[:_PAGE], reasons=reasons, next=following,
        topic=topic, reason=reason, replayed=replayed,
    )  # fmt: skip


@router.get("/dead-letters/{topic}/{partition}/{offset}/{element}")
def letter(
    viewer: Operator,
    topic: Annotated[str, Path(max_length=249)],
    partition: _Small,
    offset: Annotated[int, Path(ge=-1, lt=2**63)],
    element: _Small,
) -> HTMLResponse:
    """Show a dead letter with its bytes, as text and in hexadecimal."""
    reader = viewer.parts.reader
    with reader.asking() as client:
        row = dead.one(client, reader.name, dead.Place(topic, partition, offset, element))
    if row is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "no dead letter of that place")
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
