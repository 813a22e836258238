"""The export of a log as a file to download."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from projections.queries.export import (
    EXPORT_FORMATS,
    MAX_EXPORT_ROWS,
    ExportFormat,
    ExportStream,
    formula_safe_sql,
    open_export,
)
from projections.queries.search import search_sql
from projections.web.log_query import LogQuery


async def export_response(query: LogQuery, export_format: ExportFormat) -> StreamingResponse:
    """Return the answer with all rows of a query, streamed as ClickHouse writes them.

    Raises a 403 problem without the scope export.
    """
    query.caller.check_scope("export")
    await query.caller.state.export_slots.enter(query.caller.principal.id)
    chunks = await run_in_threadpool(_open, query, export_format)
    name = f"{query.channel}-log-{datetime.now(UTC):%Y%m%d}.{export_format}"
    return StreamingResponse(
        _stream(chunks),
        media_type=EXPORT_FORMATS[export_format].media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _open(query: LogQuery, export_format: ExportFormat) -> ExportStream:
    database = query.caller.state.database
    sql, values = search_sql(query.listing(limit=MAX_EXPORT_ROWS), query.search, database.name)
    if export_format == "csv":
        sql = formula_safe_sql(sql, query.channel)
    with database.client() as client:
        return open_export(client, sql, values, export_format)


async def _stream(chunks: ExportStream) -> AsyncIterator[bytes]:
    """Yield the chunks; end the query if the client disconnects."""
    try:
        while chunk := await run_in_threadpool(next, chunks, b""):
            yield chunk
    finally:
        chunks.close()
