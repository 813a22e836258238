"""The connections of a server: how many there may be, and how long each may take.

What counts is who has to act. A connection waits while its client owes bytes: of a request, of its
body, or of reading the answer. Whoever waits too long is cut, and whoever has waited longest makes
room for a new connection. So idle and slow clients, however many, keep nobody out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from operator import itemgetter
from typing import Any, Final
from weakref import WeakKeyDictionary

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

#: All of a server, which a process may have open beside its files: most systems allow 1,024.
MAX_SERVER_CONNECTIONS: Final = 800
#: Of one address; the proxies that the settings name may have all.
MAX_ADDRESS_CONNECTIONS: Final = 200
#: For a whole head of a request, from the connection or from the end of the answer before.
HEADER_SECONDS: Final = 10.0
#: For a whole body. The gateway ends it earlier by itself, with an answer.
BODY_SECONDS: Final = 40.0
#: In which a client reads anything of an answer.
READ_SECONDS: Final = 30.0

#: The connections of each address, of each server.
_PEERS: Final[WeakKeyDictionary[ServerState, dict[str, set[BoundedProtocol]]]] = WeakKeyDictionary()


class BoundedProtocol(H11Protocol):
    """One connection of uvicorn's, with limits. The class has them, for a test to lower."""

    max_connections = MAX_SERVER_CONNECTIONS
    max_address_connections = MAX_ADDRESS_CONNECTIONS
    header_seconds = HEADER_SECONDS
    body_seconds = BODY_SECONDS
    read_seconds = READ_SECONDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # A warning for each request that is no HTTP would be anybody's to write.
        self.logger = logging.getLogger("uvicorn.error.connections")
        self.logger.setLevel(logging.ERROR)
        self.waits_since: float | None = None
        self._waits_for: tuple[float, object] | None = None
        self._cut: asyncio.TimerHandle | None = None
        self._read_cut: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """The address of the other end, which may be a proxy's."""
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, in place of one that waits if there are too many."""
        super().connection_made(transport)
        if not (
            self._has_room_at_address() and self._has_room(self.connections, self.max_connections)
        ):
            transport.abort()
        self._update()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        super().connection_lost(exc)
        self._leave_address()
        for timer in (self._cut, self._read_cut):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        self._update()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._update()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._await_reading(0)

    def _await_reading(self, unread_bytes: int) -> None:
        """Cut a client of whose answer as much is unread as when the time began."""
        left_bytes = self.transport.get_write_buffer_size()
        if left_bytes == unread_bytes:
            self.transport.abort()
            return
        self._read_cut = self.loop.call_later(self.read_seconds, self._await_reading, left_bytes)

    def resume_writing(self) -> None:
        """Go on with the answer."""
        super().resume_writing()
        if self._read_cut is not None:
            self._read_cut.cancel()

    def _has_room_at_address(self) -> bool:
        """Return whether its address may have one more; count this one towards it."""
        peers = _PEERS.setdefault(self.server_state, {}).setdefault(self.address, set())
        peers.add(self)
        if self.config.proxy_headers and self.address in self._proxies():
            return True
        return self._has_room(peers, self.max_address_connections)

    def _leave_address(self) -> None:
        by_address = _PEERS.get(self.server_state, {})
        peers = by_address.get(self.address, set())
        peers.discard(self)
        if not peers:
            by_address.pop(self.address, None)

    def _proxies(self) -> Any:
        """Return uvicorn's set of the proxies, which it makes of the same setting."""
        app = self.config.loaded_app
        return app.trusted_hosts if isinstance(app, ProxyHeadersMiddleware) else ()

    def _has_room(self, connections: Collection[object], limit: int) -> bool:
        """Return whether there is room for this one, if need be in place of the longest waiting."""
        if len(connections) <= limit:
            return True
        waiting = [
            (each.waits_since, each)
            for each in connections
            if isinstance(each, BoundedProtocol) and each.waits_since is not None
        ]
        if not waiting:
            return False
        _, longest = min(waiting, key=itemgetter(0))
        self.connections.discard(longest)
        longest._leave_address()  # noqa: SLF001 - one of its own kind
        longest.transport.abort()
        return True

    def _update(self) -> None:
        """Start the time of what the client owes now, unless it runs."""
        cycle: Any = self.cycle  # None before the first request
        waits_for: tuple[float, object] | None = (self.header_seconds, cycle)
        if cycle is not None and not cycle.response_complete:
            waits_for = (self.body_seconds, cycle) if cycle.more_body else None
        if waits_for == self._waits_for:
            return
        self._waits_for = waits_for
        if self._cut is not None:
            self._cut.cancel()
        self.waits_since = self.loop.time() if waits_for else None
        if waits_for:
            self._cut = self.loop.call_later(waits_for[0], self.transport.abort)
