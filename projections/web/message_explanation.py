"""The explanation of one message: its row, why it has its status, and a page of its events."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from projections.queries.timeline import PAGE_EVENTS, EventPlace, explain_message
from projections.web.auth import Caller
from projections.web.cursor import cursor_time, decode_cursor, encode_cursor
from projections.web.problems import ProblemError
from schemas.events import Channel, milliseconds


def explained_message(
    caller: Caller, channel: Channel, message_id: str, recipient: str, *,
    limit: int = PAGE_EVENTS, cursor: str | None = None, is_look: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Return what `timeline.explain_message` does, with the cursor of the `next` page or None.

    The audit log says that they looked at it, unless that is a part of something else. Raises a 404
    problem without such a message that the caller may see, 422 for a cursor of another one.
    """
    address = caller.address_of(channel, recipient).address
    identity, after = (caller.tenant, channel, message_id, address), None
    if cursor is not None:
        time, event_id, content = decode_cursor(identity, cursor, (int, str, str))
        number = str(content)
        if not (number.isascii() and number.isdigit() and int(number) < 2**64):
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "no cursor of this question")
        after = EventPlace(cursor_time(time), str(event_id), int(number))
    database = caller.state.database
    with database.client() as client:
        explanation = explain_message(
            client, database.name, channel=channel, tenant=caller.tenant, message_id=message_id,
            recipient=address, limit=limit, after=after,
        )  # fmt: skip
    if explanation is None or not _may_see(caller, explanation["row"]):
        raise ProblemError(HTTPStatus.NOT_FOUND, "no such message to that recipient")
    if is_look:
        caller.audit("look", "message", message_id, detail=address)
    place: EventPlace | None = explanation["next"]
    if place is not None:
        # A JSON number has 53 bits for many readers, and the content 64.
        explanation["next"] = encode_cursor(
            identity, [milliseconds(place.occurred_at), place.event_id, str(place.content)]
        )
    return explanation


def _may_see(caller: Caller, row: dict[str, Any]) -> bool:
    return caller.record in {None, (row["record_type"], row["record_id"])}
