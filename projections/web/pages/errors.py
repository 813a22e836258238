"""Errors as pages. Programs get problems as JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from projections.web.pages.auth import Frame
from projections.web.pages.render import render_page
from projections.web.pages.url import RedirectError, page_url
from projections.web.problems import ProblemError, problem_json

#: Paths that only programs request.
_API_PREFIXES: Final = ("/api/", "/healthz", "/readyz")
_TITLES: Final = {
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.FORBIDDEN: "You may not see this",
    HTTPStatus.UNPROCESSABLE_ENTITY: "This cannot be asked",
    HTTPStatus.TOO_MANY_REQUESTS: "Too often",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available now",
}


def render_error(request: Request, problem: ProblemError) -> Response:
    """Return the answer of a problem: a page for people, JSON for programs."""
    if request.url.path.startswith(_API_PREFIXES):
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
        detail=problem.detail, typed=getattr(request.state, "fields", {}).get("reason", ""),
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
