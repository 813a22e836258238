"""A message as a page, with everything that happened to it and why; and all of an address."""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from projections.queries import retries, suppressions
from projections.web.api import logs
from projections.web.api.suppressions import whose_of
from projections.web.pages import labels
from projections.web.pages.auth import Viewer, Viewing
from projections.web.pages.render import page
from projections.web.params import ChannelPath, CursorQuery
from schemas.addresses import normalised
from schemas.decisions import OURS
from schemas.events import DECISIONS, Channel

router = APIRouter(include_in_schema=False)
_PAGE: Final = 50
#: Columns of a row that the top of the page shows, or that say nothing to people.
_SHOWN_ABOVE: Final = frozenset({
    "tenant_id", "recipient", "subject", "text", "status", "status_reason", "date",
})  # fmt: skip


@router.get("/messages/{channel}")
def message(
    viewer: Viewing,
    channel: ChannelPath,
    message_id: Annotated[str, Query(min_length=1, max_length=512)],
    recipient: Annotated[str, Query(min_length=1, max_length=320)],
) -> HTMLResponse:
    """Show a message to one recipient: why it has its status, and every fact about it."""
    told = logs.explained(viewer.asker, channel, message_id, recipient)
    # Of what is only under way every fact says so, and none decides.
    facts = [
        {
            "at": fact["occurred_at"], "recorded": fact["recorded_at"], "what": labels.kind(fact),
            "kind": fact["kind"], "role": fact["role"], "alone": fact["alone"],
            "details": list(labels.details(fact)),
            "ours": fact["kind"] in DECISIONS or fact.get("label") == OURS,
            "place": _place(fact),
        }
        for fact in told["facts"]
    ]  # fmt: skip
    row = told["row"]
    more = [
        (name, value) for name, value in row.items()
        if name not in _SHOWN_ABOVE and value not in (None, "", 0, [], False)
    ]  # fmt: skip
    return page(
        "message", viewer, channel=channel, told=told, row=row, facts=facts, more=more,
        body=row.get("subject") if channel == "email" else row.get("text"),
        retries=_retries(viewer, told) if channel == "email" else [],
    )  # fmt: skip


def _retries(viewer: Viewer, told: dict[str, Any]) -> list[dict[str, Any]]:
    reader = viewer.parts.reader
    with reader.asking() as client:
        return retries.retries(
            client, reader.name, viewer.tenant, message_id=told["message_id"],
            recipient=told["recipient"],
        )  # fmt: skip


def _place(fact: dict[str, Any]) -> str:
    return "/".join(str(fact.get(f"source_{name}", 0)) for name in ("topic", "partition", "offset"))


@router.get("/addresses")
def address(
    viewer: Viewing,
    address: Annotated[str, Query(min_length=1, max_length=320)],
    cursor: CursorQuery = None,
) -> HTMLResponse:
    """Show everything that was sent to an address in both logs, and whether it is blacklisted."""
    rows, following = logs.addressed(viewer.asker, address, limit=_PAGE, cursor=cursor)
    return page(
        "address", viewer, address=normalised("email", address), rows=rows,
        standings=[each for each in _standings(viewer, address) if each["lines"]],
        next=viewer.link("/addresses", address=address, cursor=following) if following else "",
        walking=cursor is not None,
    )  # fmt: skip


def _standings(viewer: Viewer, address: str) -> list[dict[str, Any]]:
    reader = viewer.parts.reader
    channels: tuple[Channel, ...] = get_args(Channel)
    with reader.asking() as client:
        return [
            {
                "channel": channel,
                "address": whose.address,
                "entry": suppressions.entry(client, reader.name, whose),
                "lines": suppressions.history(client, reader.name, whose),
            }
            for channel in channels
            for whose in (whose_of(viewer.asker, channel, address),)
        ]
