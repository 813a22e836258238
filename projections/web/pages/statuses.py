"""What people look up: what the statuses of both logs mean, and the reasons with what to do."""

from __future__ import annotations

from typing import get_args

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from projections.web.pages.auth import PageCaller, TenantCaller
from projections.web.pages.render import render_page
from schemas.events import Channel
from schemas.reasons import default_reasons

router = APIRouter(include_in_schema=False)


@router.get("/help/statuses")
async def show_statuses(caller: TenantCaller) -> HTMLResponse:
    """Show the meaning of each status and each reason; it holds for all tenants."""
    return render_statuses(caller)


def render_statuses(caller: PageCaller) -> HTMLResponse:
    """Return the page of statuses and reasons."""
    reasons = default_reasons()
    channels: tuple[Channel, ...] = get_args(Channel)
    causes = {
        channel: [cause for cause in reasons.causes.values() if channel in cause.channels]
        for channel in channels
    }
    return render_page("statuses", caller, statuses=reasons.statuses, causes=causes)
