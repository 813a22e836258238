"""Errors of the API: RFC 9457, `application/problem+json`, each naming what is wrong.

None has a stack trace, a query, or a word about what the asker may not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from projections.queries.listing import QueryError

MEDIA_TYPE: Final = "application/problem+json"
#: Headers of every answer.
ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
log = structlog.stdlib.get_logger(__name__)


class Wrong(BaseModel):
    """One parameter or field that is wrong."""

    parameter: str
    detail: str


class Problem(BaseModel):
    """An error as RFC 9457 has it; `errors` are the wrong parameters."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "limit: Input should be greater than or equal to 1",
                    "errors": [
                        {
                            "parameter": "limit",
                            "detail": "Input should be greater than or equal to 1",
                        }
                    ],
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Wrong] = Field(default_factory=list, description="The wrong parameters, if any")


class ProblemError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Wrong] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.errors = errors


def wrong(parameter: str, detail: str) -> ProblemError:
    """Return the refusal of a parameter's value."""
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{parameter}: {detail}",
        errors=[Wrong(parameter=parameter, detail=detail)],
    )


def away(detail: str, *, seconds: int = 5) -> ProblemError:
    """Return the answer to what will be possible again: a part of Sendlog is away."""
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(seconds)}
    )


def answer(
    status: HTTPStatus,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Wrong] = (),
) -> Response:
    """Return an error as an answer."""
    problem = Problem(title=status.phrase, status=status, detail=detail, errors=list(errors))
    skipped = set() if errors else {"errors"}
    return JSONResponse(
        problem.model_dump(mode="json", exclude=skipped),
        status_code=int(status),
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what an endpoint declares of the errors it answers with."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({400, 401, 403, 422, 429, 500, 503, *statuses})
    }


def as_problem(_request: Request, problem: ProblemError) -> Response:
    """Return an error as programs read it."""
    return answer(problem.status, problem.detail, headers=problem.headers, errors=problem.errors)


def install(
    app: FastAPI, present: Callable[[Request, ProblemError], Response] = as_problem
) -> None:
    """Answer every error of an application with a problem, as `present` shows it."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return present(request, error)

    async def unasked(request: Request, error: Exception) -> Response:
        parameter = "filter" if str(error).startswith(("filter", "no column", "column")) else "sort"
        return present(request, wrong(parameter, str(error)))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = [
            Wrong(parameter=_place(each["loc"]), detail=str(each["msg"])) for each in error.errors()
        ]
        detail = "; ".join(f"{each.parameter}: {each.detail}" for each in found)
        return present(request, ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=found))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        detail = str(error.detail) or status.phrase
        return present(request, ProblemError(status, detail, headers=error.headers))

    async def failed(request: Request, error: Exception) -> Response:
        # The server logs the traceback. This answer passes by the middleware.
        log.error("request_failed", method=request.method, error=type(error).__name__)
        detail = "an error of Sendlog's own; it is logged"
        reply = present(request, ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, detail))
        for name, value in ALWAYS.items():
            reply.headers.setdefault(name, value)
        return reply

    app.add_exception_handler(ProblemError, refused)
    app.add_exception_handler(QueryError, unasked)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, failed)


def _place(steps: Sequence[str | int]) -> str:
    """Return the name of a parameter, or the place in the body."""
    named = [str(step) for step in steps[1:]] or [str(step) for step in steps]
    return ".".join(named)
