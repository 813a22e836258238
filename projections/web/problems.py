"""Errors as answers: RFC 9457, `application/problem+json`, each naming what is wrong.

None shows a stack trace, a query, or anything that the caller may not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, SkipValidation
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from projections.queries.listing import QueryError
from schemas.words import Words

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
_SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
log = structlog.stdlib.get_logger(__name__)


class InvalidParameter(BaseModel):
    """A parameter or a field of the body that is wrong."""

    parameter: str
    #: As it is given: it may be `Words`, which pages translate.
    detail: SkipValidation[str]


class Problem(BaseModel):
    """An error in the format of RFC 9457; `errors` are the wrong parameters."""

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
    errors: list[InvalidParameter] = Field(
        default_factory=list, description="The wrong parameters, if any"
    )


class ProblemError(Exception):
    """An error that is answered with its status, detail, headers and wrong parameters."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[InvalidParameter] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.errors = errors


def invalid_parameter(
    parameter: str, detail: str, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY
) -> ProblemError:
    """Return the problem of a parameter's value, 422 by default."""
    errors = [InvalidParameter(parameter=parameter, detail=detail)]
    text = Words("%(parameter)s: %(detail)s", parameter=parameter, detail=detail)
    return ProblemError(status, text, errors=errors)


def unavailable(detail: str, *, retry_seconds: int = 5) -> ProblemError:
    """Return the 503 problem of a service that is away, with when to try again."""
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(retry_seconds)}
    )


def problem_json(problem: ProblemError) -> Response:
    """Return the answer of a problem for programs; it has `errors` only if there are any."""
    status = problem.status
    body = Problem(
        title=status.phrase, status=status, detail=problem.detail, errors=list(problem.errors)
    )
    excluded = set() if problem.errors else {"errors"}
    return JSONResponse(
        body.model_dump(mode="json", exclude=excluded),
        status_code=int(status),
        headers=problem.headers,
        media_type=PROBLEM_MEDIA_TYPE,
    )


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return an endpoint's `responses` for problems: those that all have, and `statuses`."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({400, 401, 403, 422, 429, 500, 503, *statuses})
    }


def to_problem(error: Exception) -> ProblemError:
    """Return the problem of an error; of an unexpected one a 500 that reveals nothing."""
    match error:
        case ProblemError():
            return error
        case QueryError():
            is_filter = str(error).startswith(("filter", "no column", "column"))
            return invalid_parameter("filter" if is_filter else "sort", error.args[0])
        case RequestValidationError():
            errors = [
                InvalidParameter(
                    parameter=_parameter_name(details["loc"]), detail=validation_words(details)
                )
                for details in error.errors()
            ]
            detail = "; ".join(f"{invalid.parameter}: {invalid.detail}" for invalid in errors)
            return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)
        case HTTPException():
            status = HTTPStatus(error.status_code)
            detail = str(error.detail) or status.phrase
            return ProblemError(status, detail, headers=error.headers)
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR, Words("an error of Sendlog's own; it is logged")
    )


#: The texts of pydantic's errors that parameters of pages may have, by their types.
VALIDATION_TEMPLATES: Final[Mapping[str, str]] = {
    "bool_parsing": "Input should be a valid boolean, unable to interpret input",
    "datetime_from_date_parsing": "Input should be a valid datetime or date, %(error)s",
    "greater_than_equal": "Input should be greater than or equal to %(ge)s",
    "int_parsing": "Input should be a valid integer, unable to parse string as an integer",
    "less_than_equal": "Input should be less than or equal to %(le)s",
    "literal_error": "Input should be %(expected)s",
    "missing": "Field required",
    "string_pattern_mismatch": "String should match pattern '%(pattern)s'",
    "string_too_long": "String should have at most %(max_length)s characters",
    "string_too_short": "String should have at least %(min_length)s character",
    "value_error": "Value error, %(error)s",
}


def validation_words(details: Mapping[str, Any]) -> str:
    """Return the text of a validation error, as `Words` if its template gives the same text."""
    message = str(details["msg"])
    values = {
        name: value.args[0] if isinstance(value, ValueError) and value.args else value
        for name, value in details.get("ctx", {}).items()
    }
    template = VALIDATION_TEMPLATES.get(details["type"], "")
    try:
        words = Words(template, **values)
    except KeyError:
        return message
    return words if words == message else message


def add_security_headers(headers: MutableHeaders) -> None:
    """Add the headers of every answer that does not set them itself.

    Framing is allowed only to an answer whose own content security policy names who may.
    """
    for name, value in _SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    # For browsers that do not know the directive; it cannot name origins.
    if "frame-ancestors 'none'" in headers["content-security-policy"]:
        headers.setdefault("X-Frame-Options", "DENY")


def install_error_handlers(
    app: FastAPI, render: Callable[[Request, ProblemError], Response]
) -> None:
    """Answer every error of an application with a problem, made into a response by `render`."""

    async def handle(request: Request, error: Exception) -> Response:
        return render(request, to_problem(error))

    async def handle_unexpected(request: Request, error: Exception) -> Response:
        # The server logs the traceback. This answer does not pass the middleware.
        log.error("request_failed", method=request.method, error=type(error).__name__)
        response = render(request, to_problem(error))
        add_security_headers(response.headers)
        return response

    for type_ in (ProblemError, QueryError, RequestValidationError, HTTPException):
        app.add_exception_handler(type_, handle)
    app.add_exception_handler(Exception, handle_unexpected)


def _parameter_name(location: Sequence[str | int]) -> str:
    """Return the name of a parameter, or the path of a field in the body."""
    return ".".join(str(step) for step in location[1:] or location)
