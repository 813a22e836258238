"""The pages put together, and the few files that they load."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse, Response

from projections.web.pages import (
    dead_letters,
    errors,
    logs,
    messages,
    overview,
    sign_in,
    suppressions,
)
from projections.web.pages.auth import ElsewhereError, SignedIn
from projections.web.pages.render import assets, version
from projections.web.problems import ProblemError

router = APIRouter(include_in_schema=False)


@router.get("/")
async def start(viewer: SignedIn) -> RedirectResponse:
    """Go to what there is to see for a key."""
    place = "/overview/email" if viewer.may("read") else "/dead-letters"
    return RedirectResponse(place, status_code=HTTPStatus.SEE_OTHER)


@router.get("/static/{name}")
async def static(name: str, v: str = "") -> Response:
    """Return a file that pages load; by its version it may be kept for good."""
    if name not in assets():
        raise ProblemError(HTTPStatus.NOT_FOUND, "no such file")
    content, media_type = assets()[name]
    kept = "public, max-age=31536000, immutable" if v == version(name) else "no-cache"
    return Response(content, media_type=media_type, headers={"Cache-Control": kept})


def install(app: FastAPI) -> None:
    """Add the pages to an application."""
    for module in (sign_in, logs, messages, suppressions, overview, dead_letters):
        app.include_router(module.router)
    app.include_router(router)
    app.add_exception_handler(ElsewhereError, errors.elsewhere)
