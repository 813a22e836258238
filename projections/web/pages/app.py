"""The routes of all pages, the start page, and the static files."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse, Response

from projections.web.pages import (
    audit,
    bulk_resets,
    dead_letters,
    embed,
    logs,
    messages,
    open_id,
    overview,
    records,
    reference,
    sign_in,
    statuses,
    suppressions,
    time_zones,
    unmatched,
)
from projections.web.pages.auth import SessionCaller
from projections.web.pages.errors import redirect
from projections.web.pages.render import static_files, static_version
from projections.web.pages.url import RedirectError
from projections.web.problems import ProblemError

router = APIRouter(include_in_schema=False)


@router.get("/")
async def redirect_to_start(caller: SessionCaller) -> RedirectResponse:
    """Redirect to the first page that the key may see."""
    path = "/overview/email" if caller.has_scope("read") else "/dead-letters"
    return RedirectResponse(path, status_code=HTTPStatus.SEE_OTHER)


@router.get("/static/{name}")
async def static_file(name: str, v: str = "") -> Response:
    """Return a file that pages load; with its version in the URL it may be cached for good."""
    if name not in static_files():
        raise ProblemError(HTTPStatus.NOT_FOUND, "no such file")
    content, media_type = static_files()[name]
    is_current = v == static_version(name)
    caching = "public, max-age=31536000, immutable" if is_current else "no-cache"
    return Response(content, media_type=media_type, headers={"Cache-Control": caching})


def install_pages(app: FastAPI) -> None:
    """Add the pages to an application."""
    for module in (
        sign_in,
        open_id,
        logs,
        messages,
        records,
        bulk_resets,  # before the channels of the blacklist
        suppressions,
        unmatched,
        overview,
        dead_letters,
        audit,
        statuses,
        time_zones,
        embed,
        reference,
    ):
        app.include_router(module.router)
    app.include_router(router)
    app.add_exception_handler(RedirectError, redirect)
