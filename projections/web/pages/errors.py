"""Errors as pages: what is wrong in words, and the way on. Programs get problems, as ever."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from projections.web.pages.auth import ElsewhereError
from projections.web.pages.render import page
from projections.web.problems import ProblemError, as_problem

#: Where only programs ask.
_PROGRAMS: Final = ("/api/", "/healthz", "/readyz")
_TITLES: Final = {
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.FORBIDDEN: "You may not see this",
    HTTPStatus.UNPROCESSABLE_ENTITY: "This cannot be asked",
    HTTPStatus.TOO_MANY_REQUESTS: "Too often",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available now",
}


def shown(request: Request, problem: ProblemError) -> Response:
    """Return an error as whoever asked can read it."""
    if request.url.path.startswith(_PROGRAMS):
        return as_problem(request, problem)
    headers = dict(problem.headers or {})
    reply = page(
        "error", None, status=problem.status,
        title=_TITLES.get(problem.status, problem.status.phrase),
        detail=problem.detail,
        # A page that will be there again is tried again; a change is never made twice.
        retry=headers.get("Retry-After", "") if request.method == "GET" else "",
        again=request.method == "GET",
    )  # fmt: skip
    reply.headers.update(headers)
    return reply


async def elsewhere(_request: Request, error: Exception) -> Response:
    """Send to another page."""
    assert isinstance(error, ElsewhereError)
    return RedirectResponse(error.location, status_code=HTTPStatus.SEE_OTHER)
