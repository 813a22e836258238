"""The pages of dead letters, for operators: reasons, the newest, and one with its bytes."""

from __future__ import annotations

import base64
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from projections.queries.dead_letters import LetterPlace, count_reasons
from projections.web.dead_letters import (
    ElementPath,
    OffsetPath,
    PartitionPath,
    TopicPath,
    dead_letter_at,
    dead_letters_page,
)
from projections.web.pages.auth import OperatorCaller
from projections.web.pages.render import PAGE_ROWS, render_page
from projections.web.pages.url import shareable_url
from projections.web.params import CursorQuery

router = APIRouter(include_in_schema=False)
#: A page has so much of a record.
MAX_TEXT_BYTES: Final = 65_536
MAX_HEX_BYTES: Final = 4_096
_HEX_LINE_BYTES: Final = 16


@router.get("/dead-letters")
def show_dead_letters(
    request: Request,
    caller: OperatorCaller,
    topic: Annotated[str, Query(max_length=249)] = "",
    reason: Annotated[str, Query(max_length=200)] = "",
    replayed: bool = False,  # noqa: FBT001, FBT002 the name of the parameter
    cursor: CursorQuery = None,
) -> HTMLResponse:
    """Show the commonest reasons, and dead letters, the newest first."""
    url = shareable_url(request)
    database = caller.state.database
    rows, next_cursor = dead_letters_page(
        database, topic=topic, reason=reason, replayed=replayed, limit=PAGE_ROWS, cursor=cursor
    )
    with database.client() as client:
        reasons = count_reasons(client, database.name, replayed=replayed)
    return render_page(
        "dead_letters", caller, url=url, rows=rows, reasons=reasons,
        next_url=url.with_values(cursor=next_cursor) if next_cursor else None,
        topic=topic, reason=reason, replayed=replayed,
    )  # fmt: skip


@router.get("/dead-letters/{topic}/{partition}/{offset}/{element}")
def show_dead_letter(
    caller: OperatorCaller,
    topic: TopicPath,
    partition: PartitionPath,
    offset: OffsetPath,
    element: ElementPath,
) -> HTMLResponse:
    """Show a dead letter with its bytes, as text and in hexadecimal."""
    row = dead_letter_at(caller.state.database, LetterPlace(topic, partition, offset, element))
    raw = base64.b64decode(row["raw"])
    return render_page(
        "dead_letter", caller, row=row, headers=dict(row["headers"]),
        text=raw[:MAX_TEXT_BYTES].decode("utf-8", "replace"),
        hex=hex_dump(raw[:MAX_HEX_BYTES]),
        cut_text_bytes=max(0, len(raw) - MAX_TEXT_BYTES),
        cut_hex_bytes=max(0, len(raw) - MAX_HEX_BYTES),
    )  # fmt: skip


def hex_dump(raw: bytes) -> str:
    """Return bytes in hexadecimal, 16 a line, each line with its printable ASCII characters."""
    lines = []
    for start in range(0, len(raw), _HEX_LINE_BYTES):
        line = raw[start : start + _HEX_LINE_BYTES]
        characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        lines.append(f"{start:06x}  {line.hex(' '):<{3 * _HEX_LINE_BYTES}} {characters}")
    return "\n".join(lines)
