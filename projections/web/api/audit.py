"""The endpoints of the audit log, for administrators of a tenant."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from projections.queries.audit import (
    AuditAction,
    AuditFilter,
    AuditObject,
    AuditOutcome,
    AuditVia,
)
from projections.queries.export import ExportFormat
from projections.web.api.models import NextCursor
from projections.web.audit import audit_page, export_audit
from projections.web.auth import AdminCaller
from projections.web.log_export import file_responses
from projections.web.params import ApiRoute, CursorQuery, LimitQuery, SinceQuery, UntilQuery
from projections.web.problems import problem_responses
from projections.web.row_models import JsonTime, json_row
from projections.web.state import API_PATH

router = APIRouter(prefix=API_PATH, tags=["audit"], route_class=ApiRoute)
_STRICT: Final = ConfigDict(extra="forbid")


class AuditRow(BaseModel):
    """A line of the audit log."""

    model_config = _STRICT

    tenant_id: str = Field(description="`*`: of no single tenant", examples=["acme"])
    occurred_at: JsonTime = Field(examples=["2026-11-20T09:00:04.000Z"])
    id: str
    actor: str = Field(description="A key's name, or a person's", examples=["support desk"])
    key_id: str = Field(description="By which key, empty for a command line")
    via: AuditVia = Field(description="How they came")
    action: AuditAction
    object_type: AuditObject = Field(examples=["record"])
    object: str = Field(description="An address, a record, a message …", examples=["family/F-1162"])
    detail: str = Field(description="A message's recipient, a change's reason", examples=[""])
    outcome: AuditOutcome
    client: str = Field(description="The network address, if known", examples=["203.0.113.7"])


class AuditPage(BaseModel):
    """A page of the audit log."""

    model_config = _STRICT

    rows: list[AuditRow]
    next: NextCursor


def audit_filter(
    actor: Annotated[
        str, Query(max_length=256, description="Part of who", examples=["support"])
    ] = "",
    action: Annotated[AuditAction | None, Query(description="Only this", examples=["look"])] = None,
    object: Annotated[  # noqa: A002 the name of the parameter
        str,
        Query(
            max_length=512, description="Part of what it is about, or of its detail",
            examples=["parent@example.com"],
        ),
    ] = "",
    since: SinceQuery = None,
    until: UntilQuery = None,
) -> AuditFilter:  # fmt: skip
    """Return which lines a request asks for."""
    return AuditFilter(actor.strip(), action or "", object.strip(), since, until)


RequestedAudit = Annotated[AuditFilter, Depends(audit_filter)]


@router.get(
    "/audit",
    summary="Who looked at, exported or changed what",
    responses={200: {"model": AuditPage}, **problem_responses()},
)
def get_audit(
    caller: AdminCaller, filter_: RequestedAudit, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> JSONResponse:
    """Return lines of the audit log, the newest first; for a key with the scope admin.

    What was done a second ago may not be there yet.
    """
    rows, next_cursor = audit_page(caller, filter_, limit=limit, cursor=cursor)
    return JSONResponse({"rows": [json_row(row) for row in rows], "next": next_cursor})


@router.get(
    "/audit/export",
    summary="The audit log as a file",
    response_class=StreamingResponse,
    responses=file_responses("All lines that the filters keep, the newest first"),
)
async def get_audit_export(
    caller: AdminCaller,
    filter_: RequestedAudit,
    format: Annotated[ExportFormat, Query(description="Of the file")] = "csv",  # noqa: A002
) -> StreamingResponse:
    """Stream the lines as ClickHouse writes them."""
    return await export_audit(caller, filter_, format)
