"""Answers to webhooks: what was taken, and refusals as RFC 9457 has them.

A refusal is `application/problem+json`. No answer shows a secret or any content of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

#: A provider may try again after this many seconds.
RETRY_AFTER_HEADER: Final[Mapping[str, str]] = {"Retry-After": "30"}


_FIREHOSE_REQUEST_HEADER: Final = "x-amz-firehose-request-id"


def accepted_response(headers: Mapping[str, str], now: datetime) -> Response:
    """Return the answer to a webhook that was taken: empty, but for what Firehose wants to read.

    Amazon Data Firehose takes any other answer than this object for a failure. Source: its docs,
    "HTTP endpoint delivery request and response specifications".
    """
    request_id = headers.get(_FIREHOSE_REQUEST_HEADER)
    if request_id is None:
        return Response()
    return JSONResponse({"requestId": request_id, "timestamp": int(now.timestamp() * 1000)})


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
