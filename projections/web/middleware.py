"""The middleware of every request and answer: security headers, and a limit for bodies."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from projections.web.problems import ProblemError, add_security_headers, problem_json

#: The largest command has a thirtieth of it.
MAX_BODY_BYTES: Final = 65_536
_TOO_LARGE: Final = f"the body is over {MAX_BODY_BYTES:,} bytes"


class SecurityHeaders:
    """ASGI middleware: adds the headers that an answer does not set itself, refuses large bodies.

    Answers forbid sniffing, caching, framing, and loading anything from elsewhere.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        refusal = _refuse_body(Headers(scope=scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_security_headers(MutableHeaders(scope=message))
            await send(message)

        await (refusal or self._app)(scope, receive, send_with_headers)


def _refuse_body(headers: Headers) -> ASGIApp | None:
    """Return the refusal of a body that is too large or has no stated length, else None."""
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers:
        return problem_json(
            ProblemError(HTTPStatus.LENGTH_REQUIRED, "the length of the body must be stated")
        )
    if not length.isdecimal() or len(length) > 9 or int(length) > MAX_BODY_BYTES:
        return problem_json(
            ProblemError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                _TOO_LARGE,
                headers={"Connection": "close"},
            )
        )
    return None
