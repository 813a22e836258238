"""What answers get on their way out: HEAD, compression, entity tags, the rate of their key."""

from __future__ import annotations

import math
from hashlib import blake2b
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from projections.web.state import API_PATH, AppState

#: A smaller body is not worth compressing.
MIN_COMPRESSED_BYTES: Final = 1_024
_EXPORT_PATH_END: Final = "/export"


class HeadRequests:
    """ASGI middleware: answers HEAD as GET without its body; not for exports, which would run."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        if not is_head or scope["path"].endswith(_EXPORT_PATH_END):
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)


class SelectiveCompression:
    """ASGI middleware: compresses the API's documents and the pages' files.

    Not pages: beside a text that an address may choose they have the token of their forms, which
    could be guessed from lengths (BREACH). Not exports: they are as long as a person waits.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressed = GZipMiddleware(app, minimum_size=MIN_COMPRESSED_BYTES, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        is_compressed = path.startswith((f"{API_PATH}/", "/static/")) and not path.endswith(
            _EXPORT_PATH_END
        )
        await (self._compressed if is_compressed else self._app)(scope, receive, send)


class ApiHeaders:
    """ASGI middleware: entity tags and `RateLimit` headers of the API's answers.

    An answer with the tag that a GET knows is 304 without a body. The rate is that of the key, as
    in the IETF's draft-ietf-httpapi-ratelimit-headers: `r` requests are left, all of `q` in `t`
    seconds.
    """

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith(f"{API_PATH}/"):
            await self._app(scope, receive, send)
            return
        headers, start = Headers(scope=scope), dict[str, object]()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            if start:
                if scope["method"] == "GET" and not message.get("more_body"):
                    message = _tagged(start, message, headers.get("if-none-match", ""))
                self._add_rate(start, headers)
                await send(dict(start))
                start.clear()
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _add_rate(self, start: Message, request: Headers) -> None:
        scheme, _, secret = request.get("authorization", "").partition(" ")
        key = self._state.keys.cached(secret) if scheme.lower() == "bearer" else None
        if key is None:
            return
        limiter = self._state.rate_limiter
        left, seconds = limiter.remaining(key.id)
        answer = MutableHeaders(raw=start["headers"])
        window = max(1, math.ceil(limiter.burst / limiter.rate))
        answer["RateLimit-Policy"] = f'"key";q={int(limiter.burst)};w={window}'
        answer["RateLimit"] = f'"key";r={int(left)};t={math.ceil(seconds)}'


def _tagged(start: Message, body: Message, known: str) -> Message:
    """Give an answer its tag; return its body, which is empty if the tag is one of those known."""
    if start["status"] != HTTPStatus.OK:
        return body
    # A weak one: compressed or not, it is the same document.
    tag = f'W/"{blake2b(body.get("body", b""), digest_size=12).hexdigest()}"'
    headers = MutableHeaders(raw=start["headers"])
    headers["ETag"] = tag
    if not {tag, tag.removeprefix("W/"), "*"} & {each.strip() for each in known.split(",")}:
        return body
    start["status"] = int(HTTPStatus.NOT_MODIFIED)
    for name in ("content-length", "content-type"):
        del headers[name]
    return {**body, "body": b""}
