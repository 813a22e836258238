"""Counts and times the requests of an ASGI application, by route and class of status."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from processor import metrics

#: Of requests that no route takes: their paths are anybody's.
NO_ROUTE: Final = "none"
#: Of requests whose client went away before there was an answer.
_NO_ANSWER: Final = "none"


class RequestMetrics:
    """ASGI middleware around everything: a request's label is the pattern of its route.

    `loop` is where the application runs, once it has begun to start.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.loop = self.loop or asyncio.get_running_loop()
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), _NO_ANSWER

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = f"{message['status'] // 100}xx"
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            labelled = metrics.REQUEST_SECONDS.labels(route=_route_of(scope), status=status)
            labelled.observe(perf_counter() - started)


def _route_of(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path", "") or NO_ROUTE
