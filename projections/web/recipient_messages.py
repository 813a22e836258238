"""The messages to one address in both logs, merged by time, page by page."""

from __future__ import annotations

import heapq
from typing import Any, Final

from projections.queries.listing import After, Filter
from projections.queries.page import MAX_PAGE_ROWS
from projections.web.auth import Caller
from projections.web.cursor import cursor_time, decode_cursor, encode_cursor
from projections.web.log_query import LogQuery
from schemas.events import Channel, milliseconds

#: The logs, in the order in which a cursor has their positions.
_CHANNELS: Final[tuple[Channel, ...]] = ("email", "sms")


def recipient_page(
    caller: Caller, address: str, *, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of rows, each with its `channel`, and the cursor of the next or None.

    The newest come first. Raises `ProblemError`, also for a cursor of another query.
    """
    identity, optional_time = (caller.tenant, address), int | None
    # Of each log: date and message id of the last row, None and "" before the first.
    position: list[Any] = [None, "", None, ""]
    if cursor is not None:
        types = (optional_time, str, optional_time, str)
        position = decode_cursor(identity, cursor, types)
    size, logs = min(limit + 1, MAX_PAGE_ROWS), []
    for index, channel in enumerate(_CHANNELS):
        time, message_id = position[2 * index : 2 * index + 2]
        recipient = caller.address_of(channel, address).address
        query = LogQuery(
            caller=caller, channel=channel, filters=(Filter("recipient", "=", recipient),)
        )
        after = None
        if time is not None:
            after = After(cursor_time(time), cursor_time(time), message_id, recipient)
        logs.append([(index, row) for row in query.rows(limit=size, after=after)])
    spoken_of = caller.address_of("email" if "@" in address else "sms", address)
    caller.audit("look", "address", spoken_of.address)
    merged = list(heapq.merge(*logs, key=_newest_first))
    for index, row in merged[:limit]:
        position[2 * index : 2 * index + 2] = milliseconds(row["date"]), row["message_id"]
    rows = [{"channel": _CHANNELS[index], **row} for index, row in merged[:limit]]
    return rows, encode_cursor(identity, position) if len(merged) >= size else None


def _newest_first(indexed_row: tuple[int, dict[str, Any]]) -> tuple[int, int, str]:
    index, row = indexed_row
    return -milliseconds(row["date"]), index, row["message_id"]
