"""The logs: listings page by page, exports, everything of an address, and a message explained."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from projections.queries.explanation import tell
from projections.queries.export import EVERYTHING, FORMS, Chunks, Format, harmless, opened
from projections.queries.listing import After, Filter
from projections.queries.page import LARGEST_PAGE
from projections.queries.search import searching_sql
from projections.queries.timeline import timeline
from projections.tables import log_of
from projections.web.api import models
from projections.web.auth import Asker, Reading
from projections.web.cursor import decode, encode
from projections.web.log_query import Asked, Question, moment_of
from projections.web.params import AddressPath, ChannelPath, CursorQuery, LimitQuery
from projections.web.problems import ProblemError, responses
from projections.web.row_models import row_shown
from projections.web.state import BASE
from schemas.addresses import normalised
from schemas.events import Channel, milliseconds

router = APIRouter(prefix=BASE, tags=["logs"])
_CHANNELS: Final[tuple[Channel, ...]] = ("email", "sms")


@router.get(
    "/logs/{channel}",  # noqa: FAST003 the question has it
    summary="A page of a log",
    responses={200: {"model": models.EmailPage | models.SmsPage}, **responses(404)},
)
def listing(asked: Asked, limit: LimitQuery = 50, cursor: CursorQuery = None) -> JSONResponse:
    """Return the rows that the filters keep, in order; `next` is the cursor of the page after.

    A walk by cursors has every row once that keeps its place meanwhile, whatever else comes in.
    """
    rows, following = asked.page(limit=limit, cursor=cursor)
    return JSONResponse({"rows": [row_shown(row) for row in rows], "next": following})


@router.get(
    "/logs/{channel}/export",  # noqa: FAST003 the question has it
    summary="A whole log as a file",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "All rows that the filters keep, in order",
            "content": {
                form.media_type.partition(";")[0]: {
                    "schema": {"type": "string", "format": "binary"}
                }
                for form in FORMS.values()
            },
        },
        **responses(404),
    },
)
async def export(
    asked: Asked,
    format: Annotated[Format, Query(description="Of the file")] = "csv",  # noqa: A002
) -> StreamingResponse:
    """Stream the rows as ClickHouse writes them; an answer that breaks off is not complete.

    In CSV, texts that a spreadsheet would take for formulas get an apostrophe in front.
    """
    return await exported(asked, format)


async def exported(asked: Question, form: Format) -> StreamingResponse:
    """Return a whole log as a file to download."""
    chunks = await run_in_threadpool(_begin, asked, form)
    name = f"{asked.channel}-log-{datetime.now(UTC):%Y%m%d}.{form}"
    return StreamingResponse(
        _passed_on(chunks),
        media_type=FORMS[form].media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _begin(asked: Question, form: Format) -> Chunks:
    reader = asked.asker.parts.reader
    sql, values = searching_sql(asked.listing(limit=EVERYTHING), asked.search, reader.name)
    if form == "csv":
        sql = harmless(sql, asked.channel)
    with reader.asking() as client:
        return opened(client, sql, values, form)


async def _passed_on(chunks: Chunks) -> AsyncIterator[bytes]:
    """Yield the chunks; whoever stops listening ends the query."""
    try:
        while chunk := await run_in_threadpool(next, chunks, b""):
            yield chunk
    finally:
        chunks.close()


@router.get(
    "/recipients/{address:path}",
    summary="Everything sent to an address or number",
    responses={200: {"model": models.RecipientPage}, **responses(404)},
)
def recipient(
    asker: Reading, address: AddressPath, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> JSONResponse:
    """Return the messages to an address in both logs, the newest first."""
    rows, following = addressed(asker, address, limit=limit, cursor=cursor)
    return JSONResponse({"rows": [row_shown(row) for row in rows], "next": following})


def addressed(
    asker: Asker, address: str, *, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of the rows of an address, each with its `channel`; and the next cursor."""
    identity, maybe = (asker.tenant, address), int | None
    place: list[Any] = [None, "", None, ""]
    if cursor is not None:
        place = decode(identity, cursor, (maybe, str, maybe, str))
    size, columns = min(limit + 1, LARGEST_PAGE), []
    for number, channel in enumerate(_CHANNELS):
        whose = Filter("recipient", "=", normalised(channel, address))
        at, message_id = place[2 * number : 2 * number + 2]
        last = None
        if at is not None:
            last = After(moment_of(at), moment_of(at), message_id, whose.value)
        rows = Question(asker=asker, channel=channel, filters=(whose,)).rows(limit=size, last=last)
        columns.append([(number, row) for row in rows])
    merged = list(heapq.merge(*columns, key=_newest_first))
    for number, row in merged[:limit]:
        place[2 * number : 2 * number + 2] = milliseconds(row["date"]), row["message_id"]
    told = [{"channel": _CHANNELS[number], **row} for number, row in merged[:limit]]
    return told, encode(identity, place) if len(merged) >= size else None


def _newest_first(found: tuple[int, dict[str, Any]]) -> tuple[int, int, str]:
    number, row = found
    return -milliseconds(row["date"]), number, row["message_id"]


@router.get(
    "/messages/{channel}",
    summary="A message: its row, its facts, and why it has its status",
    responses={200: {"model": models.Explanation}, **responses(404)},
)
def message(
    asker: Reading,
    channel: ChannelPath,
    message_id: Annotated[str, Query(min_length=1, max_length=512)],
    recipient: Annotated[str, Query(min_length=1, max_length=320)],
) -> JSONResponse:
    """Return one message to one recipient with every fact, the rule that decided and what lost."""
    told = explained(asker, channel, message_id, recipient)
    told["row"] = row_shown(told["row"])
    told["facts"] = [row_shown(fact) for fact in told["facts"]]
    return JSONResponse(told)


def explained(asker: Asker, channel: Channel, message_id: str, recipient: str) -> dict[str, Any]:
    """Return a message as `explanation.tell` does. Raises a 404 problem for none."""
    reader = asker.parts.reader
    with reader.asking() as client:
        facts = timeline(
            client, reader.name, message_id=message_id,
            recipient=normalised(channel, recipient), tenant=asker.tenant,
        )  # fmt: skip
    facts = [fact for fact in facts if fact["channel"] == channel]
    if not any(fact["kind"] in log_of(channel).kinds for fact in facts):
        raise ProblemError(HTTPStatus.NOT_FOUND, "no such message to that recipient")
    return tell(facts)
