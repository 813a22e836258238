"""Answers to requests that the gateway refuses: RFC 9457, `application/problem+json`.

An answer never shows a secret or any content of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

#: A provider may try again after this many seconds.
RETRY_AFTER_HEADER: Final[Mapping[str, str]] = {"Retry-After": "30"}


class RefusedError(Exception):
    """A refused request: the answer, and a label for the metrics."""

    def __init__(
        self, status: HTTPStatus, reason: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers


def temporary_refusal(reason: str, detail: str) -> RefusedError:
    """Return the refusal of a request that may succeed when it is sent again."""
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, reason, detail, RETRY_AFTER_HEADER)


def problem_response(
    status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error in the form of RFC 9457."""
    return JSONResponse(
        {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail},
        status_code=int(status),
        headers=headers,
        media_type="application/problem+json",
    )


async def http_error_response(_request: Request, error: Exception) -> Response:
    """Return the answer to a request that Starlette refuses: no such address or method."""
    assert isinstance(error, HTTPException)
    return problem_response(HTTPStatus(error.status_code), error.detail, error.headers)
