"""The page of the audit log, for administrators of a tenant."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from projections.queries.audit import AuditAction, AuditFilter
from projections.queries.days import day_of
from projections.queries.export import ExportFormat
from projections.web.audit import audit_page, export_audit
from projections.web.auth import Caller
from projections.web.pages.auth import PageAdmin
from projections.web.pages.render import PAGE_ROWS, render_page, sentence
from projections.web.pages.url import shareable_url
from projections.web.params import CursorQuery
from projections.web.problems import ProblemError, invalid_parameter
from schemas.words import Words

router = APIRouter(include_in_schema=False)
_ONE_DAY: Final = timedelta(days=1)
DayQuery = Annotated[str, Query(max_length=100)]


class AuditFields:
    """The fields of the form, as they were typed."""

    def __init__(
        self,
        actor: Annotated[str, Query(max_length=256)] = "",
        action: Annotated[str, Query(pattern=f"^(|{'|'.join(get_args(AuditAction))})$")] = "",
        object: Annotated[str, Query(max_length=512)] = "",  # noqa: A002 the name of the parameter
        first: DayQuery = "",
        last: DayQuery = "",
    ) -> None:
        self.actor, self.action, self.object = actor.strip(), action, object.strip()
        self.first, self.last = first, last

    def to_filter(self, caller: Caller) -> AuditFilter:
        """Return which lines they ask for; days are the caller's. Raises a 422 problem."""
        return AuditFilter(
            self.actor, self.action, self.object,
            _midnight(caller, "first", self.first),
            _midnight(caller, "last", self.last, _ONE_DAY),
        )  # fmt: skip


def _midnight(
    caller: Caller, name: str, text: str, later: timedelta = timedelta()
) -> datetime | None:
    """Return when the day of a text begins, or so much later; None without one."""
    if not text.strip():
        return None
    day = day_of(text, datetime.now(caller.time_zone).date(), caller.typed_words.days)
    if day is None:
        raise invalid_parameter(
            name, Words("%(text)r is no day; write one as 2026-11-25", text=text[:40])
        )
    return datetime.combine(day + later, time.min, caller.time_zone)


SentFields = Annotated[AuditFields, Depends()]


@router.get("/audit")
def show_audit(
    request: Request, caller: PageAdmin, fields: SentFields, cursor: CursorQuery = None
) -> HTMLResponse:
    """Show who looked at, exported or changed what, the newest first."""
    url, problem = shareable_url(request), None
    rows: list[dict[str, Any]] = []
    next_cursor: str | None = None
    try:
        rows, next_cursor = audit_page(
            caller, fields.to_filter(caller), limit=PAGE_ROWS, cursor=cursor
        )
    except ProblemError as error:
        if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        problem = error
    return render_page(
        "audit", caller, url=url, rows=rows, fields=fields, problem=sentence(problem),
        status=problem.status if problem else HTTPStatus.OK,
        next_url=url.with_values(cursor=next_cursor) if next_cursor else None,
        export_url=url.with_path("/audit/export").with_values(format="csv"),
        is_later_page=cursor is not None,
        is_filtered=any((fields.actor, fields.action, fields.object, fields.first, fields.last)),
    )  # fmt: skip


@router.get("/audit/export")
async def download_audit(
    caller: PageAdmin, fields: SentFields,
    format: ExportFormat = "csv",  # noqa: A002 the name of the parameter
) -> StreamingResponse:  # fmt: skip
    """Stream what the page shows as a file."""
    return await export_audit(caller, fields.to_filter(caller), format)
