"""What the gateway answers when it does not take a request: RFC 9457, `application/problem+json`.

None shows a secret, or what a request held.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

#: Seconds after which a provider may try again.
RETRY_AFTER: Final[Mapping[str, str]] = {"Retry-After": "30"}


class RefusedError(Exception):
    """A request that is not taken: the answer, and a word for the metrics."""

    def __init__(
        self, status: HTTPStatus, reason: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers


def later(reason: str, detail: str) -> RefusedError:
    """Return the refusal of what may be taken when it is sent again."""
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, reason, detail, RETRY_AFTER)


def problem(
    status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error as RFC 9457 has it."""
    return JSONResponse(
        {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail},
        status_code=int(status),
        headers=headers,
        media_type="application/problem+json",
    )


async def http_error(_request: Request, error: Exception) -> Response:
    """Return what Starlette itself refuses: an address or method that there is not."""
    assert isinstance(error, HTTPException)
    return problem(HTTPStatus(error.status_code), error.detail, error.headers)
