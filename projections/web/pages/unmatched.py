"""The page of events that fit no message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from projections.web.pages.auth import TenantCaller
from projections.web.pages.labels import event_title
from projections.web.pages.render import render_page
from projections.web.unmatched import unmatched_events

router = APIRouter(include_in_schema=False)
MAX_ROWS: Final = 200


@router.get("/unmatched")
def show_unmatched(
    caller: TenantCaller, days: Annotated[int, Query(ge=1, le=365)] = 7
) -> HTMLResponse:
    """Show the newest events that fit no message, why, and messages that they may be of."""
    since = datetime.now(UTC) - timedelta(days=days)
    rows = unmatched_events(caller, since, MAX_ROWS)
    return render_page(
        "unmatched", caller, rows=[{**row, "title": event_title(row)} for row in rows],
        days=days, max_rows=MAX_ROWS,
    )  # fmt: skip
