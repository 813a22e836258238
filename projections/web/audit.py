"""The audit log of a tenant, page by page and as a file."""

from __future__ import annotations

from typing import Any

from fastapi.responses import StreamingResponse

from projections.queries.audit import (
    TEXT_COLUMNS,
    AuditFilter,
    LastLine,
    audit_sql,
    list_audit_lines,
)
from projections.queries.export import MAX_EXPORT_ROWS, ExportFormat
from projections.web.auth import Caller
from projections.web.cursor import cursor_time, decode_cursor, encode_cursor
from projections.web.log_export import stream_export
from schemas.events import milliseconds


def audit_page(
    caller: Caller, filter_: AuditFilter, *, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return lines of the caller's tenant, the newest first, and the cursor of the next page.

    Raises `ProblemError`, also for a cursor of another question.
    """
    identity, after = (caller.tenant, filter_), None
    if cursor is not None:
        time, line_id = decode_cursor(identity, cursor, (int, str))
        after = LastLine(cursor_time(time), str(line_id))
    database = caller.state.database
    with database.client() as client:
        rows = list(list_audit_lines(
            client, database.name, caller.tenant, filter_, limit=limit + 1, after=after
        ))  # fmt: skip
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], encode_cursor(identity, [milliseconds(last["occurred_at"]), last["id"]])


async def export_audit(
    caller: Caller, filter_: AuditFilter, export_format: ExportFormat
) -> StreamingResponse:
    """Return the answer with all lines that are asked for, streamed. Raises `ProblemError`."""
    sql, values = audit_sql(
        caller.state.database.name, caller.tenant, filter_, limit=MAX_EXPORT_ROWS
    )
    response = await stream_export(caller, sql, values, export_format, TEXT_COLUMNS, "audit")
    caller.audit("export", "audit", "", detail=export_format)
    return response
