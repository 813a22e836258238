"""ClickHouse's HTTP interface in front of its engine as a library, for one machine.

Takes what ClickHouse's clients send: the query in the URL, the body or a form, bound parameters,
settings, a database, a password, a compressed body. Answers with the engine's own bytes, error
texts and error codes. A session id is accepted and ignored: every request is a session of its own.

    python -m deploy.local.clickhouse --host 127.0.0.1 --port 8123 --data .data/clickhouse
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
import signal
import sys
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import uvicorn
from starlette.requests import ClientDisconnect, Request

from deploy.local.engine import STREAMED, Answer, Engine, EngineError, Session
from deploy.local.requests import Ask, credentials, decoded, form_fields
from deploy.local.statements import Insert, last_format, separate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import ParamSpec, TypeVar

    from starlette.types import Receive, Scope, Send

    P = ParamSpec("P")
    R = TypeVar("R")

#: So many requests wait for the engine side by side, further ones queue.
THREADS: Final = 32
_IN_MEMORY: Final = 64 << 20
#: Bytes of an answer that are worth the way from thread to thread.
_PIECE: Final = 256 << 10
#: HTTP status by ClickHouse's error code, as its server has it; any other is a 500.
_STATUS: Final = (
    dict.fromkeys((6, 26, 27, 36, 38, 41, 43, 53, 62, 72, 271, 456, 457), 400)
    | dict.fromkeys((16, 46, 47, 60, 81, 115), 404)
    | {48: 501, 516: 401}
)


class Interface:
    """The ASGI application."""

    def __init__(self, engine: Engine, *, user: str, password: str) -> None:
        self._engine = engine
        self._account = (user.encode(), password.encode())
        self._spool = str(engine.folder / "tmp")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        if request.url.path == "/ping":
            await _respond(send, 200, {}, b"Ok.\n")
            return
        try:
            self._authenticate(request)
            with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=self._spool) as body:
                async for chunk in request.stream():
                    body.write(chunk)
                body.seek(0)
                await self._answer(request, body, send)
        except EngineError as error:
            headers = {"X-ClickHouse-Exception-Code": str(error.code)}
            await _respond(send, _STATUS.get(error.code, 500), headers, f"{error}\n".encode())
        except ClientDisconnect:
            return  # while it sent its request: nothing was begun
        except asyncio.CancelledError:
            return  # the server stops, and this took longer than it waits

    def _authenticate(self, request: Request) -> None:
        given = (text.encode() for text in credentials(request))
        # Both are compared, in constant time, so that neither can be found out by measuring.
        matches = [hmac.compare_digest(*pair) for pair in zip(given, self._account, strict=True)]
        if not all(matches):
            raise EngineError("Authentication failed: the password or the user is wrong", 516)

    async def _answer(self, request: Request, body: IO[bytes], send: Send) -> None:
        coding = request.headers.get("content-encoding", "")
        ask = Ask.read(request, form_fields(request.headers.get("content-type", ""), body))
        source = decoded(body, coding)
        statement = separate(ask.query, source)
        label = str(uuid.uuid4())
        watch = asyncio.create_task(self._watch(request, statement, label))
        try:
            session, answer, form = await self._in_thread(label, self._run, ask, statement, label)
            try:
                await self._send(ask, answer, form, label, send, watch)
            finally:
                await self._in_thread(label, session.close)
        finally:
            watch.cancel()

    def _run(self, ask: Ask, statement: Insert | str, label: str) -> tuple[Session, Answer, str]:
        session = self._engine.session(
            database=ask.database, settings=ask.settings, params=ask.params, label=label
        )
        try:
            if isinstance(statement, Insert):
                return session, session.insert(statement.text, statement.form, statement.data), ""
            form = last_format(statement) or ask.default_format or "TabSeparated"
            reads = session.kind(statement) == "READ_ONLY"
            streams = reads and form in STREAMED and not ask.wait_end_of_query
            answer = (session.stream if streams else session.query)(statement, form)
        except BaseException:
            session.close()
            raise
        return session, answer, form if reads else ""

    async def _send(
        self, ask: Ask, answer: Answer, form: str, label: str, send: Send, watch: asyncio.Task[None]
    ) -> None:
        counts = {
            "read_rows": str(answer.read_rows),
            "written_rows": str(answer.written_rows),
            "written_bytes": str(answer.written_bytes),
        }
        tag = label[:16]
        headers = {
            "X-ClickHouse-Query-Id": ask.query_id or label,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Summary": json.dumps(counts),
            "X-ClickHouse-Exception-Tag": tag,
        }
        if form:  # a client tells by it an empty result from none
            headers["X-ClickHouse-Format"] = form
        await _begin(send, 200, headers)
        try:
            while len(chunk := await self._in_thread(label, _piece, answer.chunks)) >= _PIECE:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except EngineError as error:  # too late for a status: ClickHouse's mark in the body
            text = f"{error}\n".encode()
            mark = b"__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n"
            chunk = mark % (tag.encode(), text, len(text), tag.encode())
        watch.cancel()  # to the server a client that has its answer is one that has gone
        await send({"type": "http.response.body", "body": chunk})

    async def _watch(self, request: Request, statement: Insert | str, label: str) -> None:
        """Cancel a query whose client has gone; an insert goes on, as in ClickHouse."""
        await request.receive()
        if not isinstance(statement, Insert):
            self._engine.cancel(label)

    async def _in_thread(
        self, label: str, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Wait for a call to the engine, also when cancelled: a session is not for two threads."""
        future = self._threads.submit(call, *args, **kwargs)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._engine.cancel(label)
            while not waiting.done():  # at the end it is cancelled more than once
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({waiting})
            waiting.exception()  # that it was cancelled is no news
            raise


def _piece(chunks: Iterator[bytes]) -> bytes:
    """Return the next chunks together, of `_PIECE` bytes at least unless they are the last."""
    taken: list[bytes] = []
    size = 0
    while size < _PIECE and (chunk := next(chunks, b"")):
        taken.append(chunk)
        size += len(chunk)
    return b"".join(taken)


async def _begin(send: Send, status: int, headers: dict[str, str]) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _respond(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    await _begin(send, status, headers | {"Content-Length": str(len(body))})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until TERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--data", type=Path, required=True, help="folder of the database")
    options = parser.parse_args()
    # uvicorn shuts down on the signal and then passes it on to the handler that was here before.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    try:
        options.data.mkdir(parents=True, exist_ok=True)
        engine = Engine(options.data.resolve())
    except (OSError, EngineError) as error:
        sys.exit(f"clickhouse: the data folder {options.data} cannot be opened: {error}")
    app = Interface(
        engine,
        user=os.environ.get("SENDLOG_CLICKHOUSE__USER", "default"),
        password=os.environ.get("SENDLOG_CLICKHOUSE__PASSWORD", ""),
    )
    try:
        uvicorn.run(
            app,
            host=options.host,
            port=options.port,
            lifespan="off",
            access_log=False,
            log_level="warning",
            timeout_keep_alive=75,  # longer than clients keep a connection unused
            timeout_graceful_shutdown=5,
        )
    finally:
        engine.cancel()
        engine.close()


if __name__ == "__main__":
    main()
