"""Answers to webhooks: what tells a provider that it is taken, or why it is refused.

A refusal is `application/problem+json` (RFC 9457). An answer never shows a secret or any content of
the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

#: A provider may try again after this many seconds.
RETRY_AFTER_HEADER: Final[Mapping[str, str]] = {"Retry-After": "30"}

#: What Jasmin reads as "received"; after anything else it calls again, until its retries end.
#: Source: Jasmin's docs, "HTTP API" (receiving DLR, receiving MO).
JASMIN_ANSWER: Final = "ACK/Jasmin"
#: Fields that only Jasmin's callbacks have: of a delivery receipt, and of an incoming message.
JASMIN_FIELDS: Final = frozenset({b"message_status", b"origin-connector"})
_FIREHOSE_REQUEST_HEADER: Final = "x-amz-firehose-request-id"


class RefusedError(Exception):
    """A refused request: the answer, and a label for the metrics.

    `detail` is for the log, and for the client unless there is an `answer`.
    """

    def __init__(
        self,
        status: HTTPStatus,
        reason: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        *,
        answer: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.answer = answer or detail
        self.headers = headers


def acceptance(provider: str, value: bytes, headers: Mapping[str, str], now: datetime) -> Response:
    """Return the answer to a webhook that Kafka has; `value` is its body, of a GET its query.

    Amazon Data Firehose takes any answer but an object with its request's id for a failure. Source:
    its docs, "HTTP endpoint delivery request and response specifications".
    """
    if request_id := headers.get(_FIREHOSE_REQUEST_HEADER):
        return JSONResponse({"requestId": request_id, "timestamp": int(now.timestamp() * 1000)})
    if provider != "smpp":
        return Response()
    names = {pair.partition(b"=")[0] for pair in value.split(b"&")}
    return PlainTextResponse(JASMIN_ANSWER) if JASMIN_FIELDS & names else Response()


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
