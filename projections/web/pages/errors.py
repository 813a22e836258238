"""Errors as pages. Programs get problems as JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from projections.web.pages.auth import Frame
from projections.web.pages.render import problem_text, render_page
from projections.web.pages.url import RedirectError, page_url
from projections.web.problems import ProblemError, problem_json
from projections.web.state import PROGRAM_PATHS
from schemas.words import Words

_TITLES: Final = {
    HTTPStatus.NOT_FOUND: Words("There is no such page"),
    HTTPStatus.FORBIDDEN: Words("You may not see this"),
    HTTPStatus.UNPROCESSABLE_ENTITY: Words("This cannot be asked"),
    HTTPStatus.TOO_MANY_REQUESTS: Words("Too often"),
    HTTPStatus.SERVICE_UNAVAILABLE: Words("Not available now"),
}


def render_error(request: Request, problem: ProblemError) -> Response:
    """Return the answer of a problem: a page for people, JSON for programs."""
    if request.url.path.startswith(PROGRAM_PATHS):
        return problem_json(problem)
    headers = dict(problem.headers or {})
    # Only a page may be requested again by itself; a change must not be repeated.
    can_retry = request.method == "GET"
    frame = getattr(request.state, "frame", None)
    if frame and problem.status == HTTPStatus.UNAUTHORIZED:
        return _render_expired(request, problem, frame)
    response = render_page(
        "error", None, status=problem.status, frame=frame,
        title=_TITLES.get(problem.status, problem.status.phrase),
        detail=problem_text(problem), typed=getattr(request.state, "fields", {}).get("reason", ""),
        retry_seconds=headers.get("Retry-After", "") if can_retry else "",
    )  # fmt: skip
    response.headers.update(headers)
    return response


def _render_expired(request: Request, problem: ProblemError, frame: Frame) -> Response:
    """Return the page of a frame whose token has expired; it has what was typed in a form."""
    fields = {**getattr(request.state, "fields", {})}
    fields.pop("token", None)
    return render_page(
        "expired", None, status=problem.status, frame=frame, fields=fields, url=page_url(request)
    )


async def redirect(_request: Request, error: Exception) -> Response:
    """Return the redirect of a `RedirectError`."""
    assert isinstance(error, RedirectError)
    return RedirectResponse(error.location, status_code=HTTPStatus.SEE_OTHER)
