"""The work that a request has under way: its queries end when its client has gone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(slots=True)
class RequestWork:
    """What one request does.

    `tag` marks its queries; `key` is the id of its key, `client` the network address that it came
    from; `at_end` gives back what it holds.
    """

    tag: str = field(default_factory=lambda: f"sendlog-{uuid.uuid4().hex}")
    key: str = ""
    client: str = ""
    queries: int = 0
    is_abandoned: bool = False
    at_end: ExitStack = field(default_factory=ExitStack)


#: Of the request that is being answered, also in the threads that work for it.
CURRENT_WORK: Final[ContextVar[RequestWork | None]] = ContextVar("request_work", default=None)


def client_address() -> str:
    """Return the network address that the current request came from; "" if it is not known."""
    work = CURRENT_WORK.get()
    return work.client if work else ""


class AbandonedRequests:
    """ASGI middleware: keeps the work of each request, and ends its queries if the client goes.

    `cancel` ends the queries with a tag; it may block.
    """

    def __init__(self, app: ASGIApp, cancel: Callable[[str], None]) -> None:
        self._app, self._cancel = app, cancel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        work, messages = RequestWork(client=client[0] if client else ""), asyncio.Queue[Message]()

        async def watch() -> None:
            message: Message = {"type": ""}
            while message["type"] != "http.disconnect":
                message = await receive()
                messages.put_nowait(message)
            work.is_abandoned = True
            if work.queries:
                await run_in_threadpool(self._cancel, work.tag)

        token = CURRENT_WORK.set(work)
        watcher = asyncio.create_task(watch())
        try:
            with work.at_end:
                await self._app(scope, messages.get, send)
        finally:
            watcher.cancel()
            CURRENT_WORK.reset(token)
