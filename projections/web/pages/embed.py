"""The pages of a frame: one customer record, its logs, messages and addresses, and resets.

They are the other pages, for a caller whom the token limits to a record. That nothing of another
record shows is up to the queries (`LogQuery.listing`, `explained_message`) and, for addresses, to
`_own_address`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from projections.queries.export import ExportFormat
from projections.queries.listing import Filter
from projections.web.log_export import export_response
from projections.web.log_query import LogQuery, RequestedParameters
from projections.web.pages.accent import accent_css
from projections.web.pages.embed_auth import EMBED_PATH, EmbedCaller, FrameCaller, SentFrameForm
from projections.web.pages.logs import (
    ColumnsQuery,
    LastQuery,
    LogPage,
    PastQuery,
    ThanQuery,
    TotalQuery,
    UncheckedPage,
    render_log,
    render_newer_count,
    render_total,
    unchecked_page,
)
from projections.web.pages.messages import (
    CommandQuery,
    MessageIdQuery,
    RecipientQuery,
    apply_resend,
    render_message,
)
from projections.web.pages.records import render_record
from projections.web.pages.statuses import render_statuses
from projections.web.pages.suppressions import (
    AddressQuery,
    ListsQuery,
    apply_form,
    apply_to_providers,
    render_suppression,
)
from projections.web.params import ChannelPath, CursorQuery, RecordPath
from projections.web.problems import ProblemError
from schemas.addresses import Address
from schemas.events import Channel

router = APIRouter(prefix=EMBED_PATH, include_in_schema=False)


@router.get("/records/{record_type}/{record_id:path}")
def show_framed_record(
    caller: FrameCaller,
    record_type: RecordPath,
    record_id: RecordPath,
    command: CommandQuery = "",
    channel: Annotated[Channel, Query()] = "email",
    address: Annotated[str, Query(max_length=320)] = "",
    lists: ListsQuery = "",
) -> HTMLResponse:
    """Show the record of the token; after a reset, also what came of it."""
    if caller.record is None or caller.record != (record_type, record_id):
        raise ProblemError(HTTPStatus.FORBIDDEN, "the token of this frame is for another record")
    changed = _own_address(caller, channel, address) if command and address else None
    return render_record(caller, caller.record, changed, command, lists)


def unchecked_framed_page(
    request: Request,
    caller: FrameCaller,
    parameters: RequestedParameters,
    as_of: PastQuery = "",
    columns: ColumnsQuery = [],  # noqa: B006 FastAPI copies it
) -> UncheckedPage:
    """Return a page of the record's log as it is in its URL. Raises as `unchecked_page` does."""
    return unchecked_page(request, caller, parameters, as_of, columns)


UncheckedFramedPage = Annotated[UncheckedPage, Depends(unchecked_framed_page)]


def framed_log_page(unchecked: UncheckedFramedPage) -> LogPage:
    """Return the query of a page of the record's log. Raises as `LogParameters.query` does."""
    return unchecked.checked()


FramedPage = Annotated[LogPage, Depends(framed_log_page)]


@router.get("/logs/{channel}")  # noqa: FAST003 the query has it
def show_framed_log(
    unchecked: UncheckedFramedPage, cursor: CursorQuery = None, *, total: TotalQuery = False
) -> HTMLResponse:
    """Show a page of the record's log."""
    return render_log(unchecked, cursor, total=total)


@router.get("/logs/{channel}/newer")  # noqa: FAST003 the query has it
def show_framed_newer_count(page: FramedPage, than: ThanQuery = None) -> HTMLResponse:
    """Show how many messages of the record are newer than a time."""
    return render_newer_count(page, than)


@router.get("/logs/{channel}/count")  # noqa: FAST003 the query has it
def show_framed_total(page: FramedPage, last: LastQuery = 0) -> HTMLResponse:
    """Show how many rows the record's log has."""
    return render_total(page, last)


@router.get("/logs/{channel}/export")  # noqa: FAST003 the query has it
async def download_framed_log(
    page: FramedPage,
    format: ExportFormat = "csv",  # noqa: A002 the name of the parameter
) -> StreamingResponse:
    """Stream the record's log as a file."""
    return await export_response(page.query, format)


@router.get("/messages/{channel}")
def show_framed_message(
    caller: FrameCaller,
    channel: ChannelPath,
    message_id: MessageIdQuery,
    recipient: RecipientQuery,
    cursor: CursorQuery = None,
    command: CommandQuery = "",
) -> HTMLResponse:
    """Show a message of the record, and why it has its status; and what came of a resend."""
    return render_message(caller, channel, message_id, recipient, cursor, command_id=command)


@router.post("/messages/{channel}")
async def send_framed_again(
    form: SentFrameForm,
    channel: ChannelPath,
    message_id: MessageIdQuery,
    recipient: RecipientQuery,
) -> Response:
    """Have a message of the record sent again, in the person's name."""
    return await apply_resend(form.caller, channel, message_id, recipient, form.fields)


@router.get("/blacklist/{channel}")
def show_framed_suppression(
    caller: FrameCaller, channel: ChannelPath, address: AddressQuery, command: CommandQuery = "",
    lists: ListsQuery = "",
) -> HTMLResponse:  # fmt: skip
    """Show whether and why an address of the record is blacklisted."""
    own_address = _own_address(caller, channel, address)
    caller.audit("look", "address", own_address.address)
    return render_suppression(caller, own_address, command_id=command, lists=lists)


@router.post("/blacklist/{channel}")
async def reset_framed_suppression(
    form: SentFrameForm, channel: ChannelPath, address: AddressQuery
) -> Response:
    """Reset an address of the record in the person's name, and lead back to the record."""
    caller = form.caller
    own_address = await _address_to_change(caller, channel, address)
    return await apply_form(caller, "reset", own_address, form.fields, caller.start_link())


@router.post("/blacklist/{channel}/provider-lists")
async def change_framed_provider_lists(
    form: SentFrameForm, channel: ChannelPath, address: AddressQuery
) -> Response:
    """Take an address of the record off its providers' own lists."""
    own_address = await _address_to_change(form.caller, channel, address)
    return await apply_to_providers(form.caller, own_address)


async def _address_to_change(caller: EmbedCaller, channel: Channel, address: str) -> Address:
    """Return an address of the record. Raises a 403 problem if the token may change none."""
    if not caller.has_scope("reset"):
        raise ProblemError(HTTPStatus.FORBIDDEN, "the token of this frame lacks the scope 'reset'")
    return await run_in_threadpool(_own_address, caller, channel, address)


@router.get("/help/statuses")
async def show_framed_statuses(caller: FrameCaller) -> HTMLResponse:
    """Show the meaning of each status and each reason."""
    return render_statuses(caller)


@router.get("/accent/{colour}.css")
async def accent_stylesheet(
    colour: Annotated[str, Path(pattern="^[0-9a-f]{6}$")],
) -> Response:
    """Return the style of frames with an accent; it holds for good."""
    return Response(
        accent_css(colour), media_type="text/css",
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )  # fmt: skip


def _own_address(caller: EmbedCaller, channel: Channel, address: str) -> Address:
    """Return an address that a message of the record went to. Raises a 404 problem for others."""
    own_address = caller.address_of(channel, address)
    query = LogQuery(
        caller=caller, channel=channel, filters=(Filter("recipient", "=", own_address.address),)
    )
    if not query.rows(limit=1):
        raise ProblemError(HTTPStatus.NOT_FOUND, "no message of this record went to that address")
    return own_address
