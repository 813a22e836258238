"""A proxy between two parts of a system that can spoil what passes it; it runs on a thread.

`Proxy` relays bytes, as to a broker. `HttpProxy` knows where a request ends, as to a database, so
it can also refuse one, change it, or lose the answer to an insert that was made.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from contextlib import suppress

from deploy.local.addresses import free_port

#: What passes at once, and how fast it goes when the link is slow.
PIECE_BYTES = 65_536
SLOW_PIECE_BYTES = 4_096
SLOW_PAUSE_SECONDS = 0.02
MAX_HEAD_BYTES = 1 << 20
#: Too little for any insert into the tables of events.
STARVED_BYTES = 100_000

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

#: Modes of both proxies.
PASS, REFUSE, HANG, SLOW = "pass", "refuse", "hang", "slow"
#: Modes of requests: the answer to an insert is lost; an answer is cut in two; a balancer says that
#: nobody is there; the database has no memory for an insert.
LOSE_ANSWERS, TRUNCATE, UNAVAILABLE_MODE, STARVE = "lose", "truncate", "unavailable", "starve"


class ConnectionCutError(Exception):
    """The proxy has decided to end a connection."""


class Proxy:
    """Listens on `port` and relays to `upstream_port`, both on the loopback address."""

    def __init__(self, upstream_port):
        self.port, self._upstream_port = free_port(upstream_port), upstream_port
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self.mode = PASS
        #: How often something was spoiled, by mode.
        self.hits = Counter()
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._writers = set()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self):
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, mode):
        """Let what passes from now on be spoiled in some way."""
        asyncio.run_coroutine_threadsafe(self._set(mode), self._loop).result()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self):
        self._server = await asyncio.start_server(
            self._serve, sock=self._socket, limit=MAX_HEAD_BYTES
        )

    async def _close(self):
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _set(self, mode):
        self.mode = mode
        self._changed.set()
        self._changed = asyncio.Event()
        if mode == REFUSE:
            for writer in list(self._writers):
                writer.transport.abort()

    async def _serve(self, reader, writer):
        if self.mode == REFUSE:
            self.hits[REFUSE] += 1
            writer.transport.abort()
            return
        self._writers.add(writer)
        upstream_writer = None
        try:
            upstream, upstream_writer = await asyncio.open_connection(
                "127.0.0.1", self._upstream_port, limit=MAX_HEAD_BYTES
            )
            await self._relay((reader, writer), (upstream, upstream_writer))
        except (ConnectionCutError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            for each in filter(None, (writer, upstream_writer)):
                each.transport.abort()

    async def _relay(self, client, upstream):
        """Relay both ways until one side ends."""
        ways = [
            asyncio.ensure_future(self._requests(client, upstream)),
            asyncio.ensure_future(self._answers(upstream, client)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self, client, upstream):
        await self._pump(client[0], upstream[1])

    async def _answers(self, upstream, client):
        await self._pump(upstream[0], client[1])

    async def _pump(self, reader, writer):
        while data := await reader.read(PIECE_BYTES):
            await self._pass(data, writer)

    async def _pass(self, data, writer):
        """Send data on, at the speed of the mode."""
        while self.mode == HANG:
            self.hits[HANG] += 1
            await self._changed.wait()
        if self.mode == REFUSE:
            raise ConnectionCutError
        while data and self.mode == SLOW:
            self.hits[SLOW] += 1
            writer.write(data[:SLOW_PIECE_BYTES])
            data = data[SLOW_PIECE_BYTES:]
            await writer.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout(SLOW_PAUSE_SECONDS):
                    await self._changed.wait()
        writer.write(data)
        await writer.drain()


class HttpProxy(Proxy):
    """A proxy of ClickHouse's HTTP interface."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def _requests(self, client, upstream):
        reader, writer = client
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, headers = head.partition(b"\r\n")
            is_insert = b"query=INSERT" in line
            if self.mode == STARVE and is_insert:
                self.hits[STARVE] += 1
                line = line.replace(b"?", b"?max_memory_usage=%d&" % STARVED_BYTES, 1)
            is_refused = self.mode == UNAVAILABLE_MODE
            writer.is_inserting = is_insert
            if not is_refused:
                await self._pass(line + b"\r\n" + headers, upstream[1])
            async for piece in body_of(reader, headers):
                if not is_refused:
                    await self._pass(piece, upstream[1])
            if is_refused:
                self.hits[UNAVAILABLE_MODE] += 1
                writer.write(UNAVAILABLE)
                await writer.drain()
                return

    async def _answers(self, upstream, client):
        reader, writer = upstream[0], client[1]
        while data := await reader.read(PIECE_BYTES):
            if self.mode == LOSE_ANSWERS and getattr(writer, "is_inserting", False):
                self.hits[LOSE_ANSWERS] += 1
                raise ConnectionCutError
            if self.mode == TRUNCATE:
                self.hits[TRUNCATE] += 1
                await self._pass(data[: len(data) // 2], writer)
                raise ConnectionCutError
            await self._pass(data, writer)


async def body_of(reader, headers):
    """Yield the bytes of a request's body, as they are on the wire."""
    fields = dict(line.lower().split(b":", 1) for line in headers.split(b"\r\n") if b":" in line)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        size = None
        while size != 0:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line + await reader.readexactly(size + 2)
        return
    left = int(fields.get(b"content-length", 0))
    while left:
        piece = await reader.read(min(left, PIECE_BYTES))
        if not piece:
            raise ConnectionCutError
        left -= len(piece)
        yield piece
