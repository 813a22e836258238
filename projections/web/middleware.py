"""What holds for every request and answer, before any endpoint: headers, and how large it may be.

Nothing is sniffed, kept, framed or loaded from elsewhere.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from projections.web.problems import ALWAYS, answer

#: Bytes of a body: the largest command is a thirtieth of it.
LARGEST_BODY: Final = 65_536


class Edge:
    """ASGI middleware: adds the headers an answer has not set itself, refuses large bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        refusal = _too_large(Headers(scope=scope))

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (refusal or self._app)(scope, receive, with_headers)


def _too_large(headers: Headers) -> ASGIApp | None:
    """Return the refusal of a body that nobody would read to its end, or nothing."""
    stated = headers.get("content-length", "0")
    if "transfer-encoding" in headers:
        return answer(HTTPStatus.LENGTH_REQUIRED, "the length of the body must be stated")
    if not stated.isdecimal() or len(stated) > 9 or int(stated) > LARGEST_BODY:
        detail = f"the body is over {LARGEST_BODY:,} bytes"
        return answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers={"Connection": "close"})
    return None
