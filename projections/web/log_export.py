"""Exports as files to download: of a log, and of whatever else is a query."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from projections.queries.export import (
    EXPORT_FORMATS,
    MAX_EXPORT_ROWS,
    ExportFormat,
    ExportStream,
    formula_safe_sql,
    log_texts,
    open_export,
)
from projections.queries.search import search_sql
from projections.web.auth import Caller
from projections.web.database import ReadOnlyDatabase
from projections.web.log_query import LogQuery
from projections.web.problems import problem_responses


def file_responses(description: str, *problems: int) -> dict[int | str, dict[str, Any]]:
    """Return an endpoint's `responses` for a file in any format, and as `problem_responses`."""
    content = {
        definition.media_type.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
        for definition in EXPORT_FORMATS.values()
    }
    return {200: {"description": description, "content": content}, **problem_responses(*problems)}


async def export_response(query: LogQuery, export_format: ExportFormat) -> StreamingResponse:
    """Return the answer with all rows of a query, streamed as ClickHouse writes them.

    Raises a 403 problem without the scope export.
    """
    query.caller.check_scope("export")
    database = query.caller.state.database.name
    sql, values = search_sql(query.listing(limit=MAX_EXPORT_ROWS), query.search, database)
    response = await stream_export(
        query.caller, sql, values, export_format, log_texts(query.channel), f"{query.channel}-log"
    )
    detail = "; ".join(filter(None, (export_format, query.in_words)))
    query.caller.audit("export", "log", query.channel, detail=detail)
    return response


async def stream_export(
    caller: Caller, sql: str, values: Mapping[str, Any], export_format: ExportFormat,
    texts: Sequence[str], what: str,
) -> StreamingResponse:  # fmt: skip
    """Return the answer with all rows of a query, streamed; its file has the name of `what`.

    In CSV no column of `texts` is a formula. Raises `ProblemError`.
    """
    await caller.state.export_slots.enter(caller.principal.id)
    if export_format == "csv":
        sql = formula_safe_sql(sql, texts)
    chunks = await run_in_threadpool(_open, caller.state.database, sql, values, export_format)
    name = f"{what}-{datetime.now(caller.time_zone):%Y%m%d}.{export_format}"
    return StreamingResponse(
        _stream(chunks),
        media_type=EXPORT_FORMATS[export_format].media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _open(
    database: ReadOnlyDatabase, sql: str, values: Mapping[str, Any], export_format: ExportFormat
) -> ExportStream:
    with database.client() as client:
        return open_export(client, sql, values, export_format)


async def _stream(chunks: ExportStream) -> AsyncIterator[bytes]:
    """Yield the chunks; end the query if the client disconnects."""
    try:
        while chunk := await run_in_threadpool(next, chunks, b""):
            yield chunk
    finally:
        chunks.close()
