"""The endpoints of the logs: pages, exports, messages to an address, and one message explained."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, StreamingResponse

from projections.queries.export import ExportFormat
from projections.queries.timeline import PAGE_EVENTS
from projections.web.api import models
from projections.web.auth import ReadCaller
from projections.web.log_export import export_response, file_responses
from projections.web.log_query import RequestedLog
from projections.web.message_explanation import explained_message
from projections.web.params import AddressPath, ApiRoute, ChannelPath, CursorQuery, LimitQuery
from projections.web.problems import problem_responses
from projections.web.recipient_messages import recipient_page
from projections.web.row_models import json_row
from projections.web.state import API_PATH

router = APIRouter(prefix=API_PATH, tags=["logs"], route_class=ApiRoute)


@router.get(
    "/logs/{channel}",  # noqa: FAST003 the query has it
    summary="A page of a log",
    responses={200: {"model": models.EmailPage | models.SmsPage}, **problem_responses(404)},
)
def get_log_page(
    query: RequestedLog,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
    *,
    total: Annotated[
        bool, Query(description="Also count the rows: that may take longer than the page")
    ] = False,
) -> JSONResponse:
    """Return the rows that match the filters, in order, with the cursors of the pages around them.

    Whoever follows the cursors gets every row once that keeps its place meanwhile, whatever else
    comes in.
    """
    page = query.page(limit=limit, cursor=cursor)
    answer: dict[str, Any] = {
        "rows": [json_row(row) for row in page.rows], "next": page.next, "previous": page.previous,
    }  # fmt: skip
    if total and (counted := query.total()):
        answer |= {"total": counted.rows, "total_is_exact": counted.is_exact}
    return JSONResponse(answer)


@router.get(
    "/logs/{channel}/export",  # noqa: FAST003 the query has it
    summary="A whole log as a file",
    response_class=StreamingResponse,
    responses=file_responses("All rows that the filters keep, in order", 404),
)
async def get_log_export(
    query: RequestedLog,
    format: Annotated[ExportFormat, Query(description="Of the file")] = "csv",  # noqa: A002
) -> StreamingResponse:
    """Stream the rows as ClickHouse writes them; an answer that breaks off is not complete.

    In CSV, texts that a spreadsheet would take for formulas get an apostrophe in front.
    """
    return await export_response(query, format)


@router.get(
    "/recipients/{address:path}",
    summary="Everything sent to an address or number",
    responses={200: {"model": models.RecipientPage}, **problem_responses(404)},
)
def get_recipient_messages(
    caller: ReadCaller, address: AddressPath, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> JSONResponse:
    """Return the messages to an address in both logs, the newest first."""
    rows, next_cursor = recipient_page(caller, address, limit=limit, cursor=cursor)
    return JSONResponse({"rows": [json_row(row) for row in rows], "next": next_cursor})


@router.get(
    "/messages/{channel}",
    summary="A message: its row, its facts, and why it has its status",
    responses={200: {"model": models.ExplainedMessage}, **problem_responses(404)},
)
def get_message(
    caller: ReadCaller,
    channel: ChannelPath,
    message_id: Annotated[
        str, Query(min_length=1, max_length=512, description="Its id", examples=["m-2041"])
    ],
    recipient: Annotated[
        str,
        Query(
            min_length=1,
            max_length=320,
            description="Address or number",
            examples=["parent@example.com"],
        ),
    ],
    limit: LimitQuery = PAGE_EVENTS,
    cursor: CursorQuery = None,
) -> JSONResponse:
    """Return a message to one recipient: its events, the rule that decided, the overruled ones.

    `limit` and `cursor` are of its events, `facts`.
    """
    explanation = explained_message(
        caller, channel, message_id, recipient, limit=limit, cursor=cursor
    )
    explanation["row"] = json_row(explanation["row"])
    for name in ("edges", "facts"):
        explanation[name] = [json_row(row) for row in explanation[name]]
    return JSONResponse(explanation)
