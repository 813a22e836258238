"""The blacklist as pages: who is on it, why, and the forms that lift or add a listing."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final, cast, get_args

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from projections.queries import suppressions as blacklist
from projections.web.api import suppressions
from projections.web.api.suppressions import Doing, whose_of
from projections.web.pages import labels
from projections.web.pages.auth import ElsewhereError, Form, Viewer, Viewing, require
from projections.web.pages.render import page
from projections.web.pages.url import Bar
from projections.web.params import ChannelPath, CursorQuery
from projections.web.problems import ProblemError
from schemas.addresses import Address
from schemas.decisions import Rule
from schemas.events import Channel

router = APIRouter(include_in_schema=False)
_PAGE: Final = 50
AddressQuery = Annotated[str, Query(min_length=1, max_length=320)]


@router.get("/blacklist")
def listing(
    request: Request,
    viewer: Viewing,
    channel: Annotated[str, Query(pattern="^(|email|sms)$")] = "",
    rule: Annotated[str, Query(pattern=f"^(|{'|'.join(get_args(Rule))})$")] = "",
    address: Annotated[str, Query(max_length=320)] = "",
    cursor: CursorQuery = None,
) -> HTMLResponse:
    """Show who is blacklisted, by channel and address."""
    bar = Bar.of(request)
    if bar.tidy() != bar:
        raise ElsewhereError(str(bar.tidy()))
    rows, following = suppressions.paged(
        viewer.asker, channel=cast("Channel | None", channel or None),
        rule=cast("Rule | None", rule or None), address=address, limit=_PAGE, cursor=cursor,
    )  # fmt: skip
    return page(
        "blacklist", viewer, bar=bar, rows=rows, channel=channel,
        next=bar.put(cursor=following) if following else None,
        rule=rule, part=address, narrowed=bool(channel or rule or address),
        walking=cursor is not None,
    )  # fmt: skip


@router.get("/blacklist/{channel}")
def entry(
    viewer: Viewing,
    channel: ChannelPath,
    address: AddressQuery,
    command: Annotated[str, Query(max_length=64)] = "",
) -> HTMLResponse:
    """Show whether and why an address is blacklisted, and what became of a command."""
    return _entry(viewer, whose_of(viewer.asker, channel, address), command=command)


@router.post("/blacklist/{channel}")
async def change(
    viewer: Viewing, channel: ChannelPath, address: AddressQuery, fields: Form
) -> Response:
    """Ask for a reset or a listing, wait for what comes of it, and show that."""
    require(viewer, "reset")
    whose = whose_of(viewer.asker, channel, address)
    doing: Doing = "add" if fields.get("do") == "add" else "reset"
    reason = fields.get("reason", "")
    try:
        command = await suppressions.asked(
            viewer.asker, whose, doing, reason,
            confirmed_complaint=fields.get("confirmed") == "yes",
        )  # fmt: skip
    except ProblemError as problem:
        return await run_in_threadpool(_entry, viewer, whose, problem=problem, reason=reason)
    await suppressions.outcome(viewer.asker, whose, command)
    place = viewer.link(f"/blacklist/{channel}", address=whose.address, command=command)
    return RedirectResponse(place, status_code=HTTPStatus.SEE_OTHER)


def _entry(
    viewer: Viewer, whose: Address, *, command: str = "", problem: ProblemError | None = None,
    reason: str = "",
) -> HTMLResponse:  # fmt: skip
    reader = viewer.parts.reader
    with reader.asking() as client:
        found = blacklist.entry(client, reader.name, whose)
        lines = blacklist.history(client, reader.name, whose)
    outcome: dict[str, Any] | None = None
    if command:
        outcome = next((x for x in reversed(lines) if x["cause_event_id"] == command), None)
    return page(
        "entry", viewer, status=problem.status if problem else HTTPStatus.OK,
        whose=whose, entry=found, lines=lines, command=command, outcome=outcome,
        problem=problem.detail if problem else "", reason=reason,
        title=f"Blacklist: {labels.CHANNELS[whose.channel]}",
    )  # fmt: skip
