"""An application behind the real server, in a thread of a test, and sockets to it."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, contextmanager, suppress

import uvicorn

from processor.http.connections import BoundedProtocol
from processor.http.server import listening


@contextmanager
def served(app, proxies="", **limits):
    """Serve with limits; give a function that opens a socket and sends bytes."""
    protocol = type("Limited", (BoundedProtocol,), limits)
    listener = listening("127.0.0.1", 0, "X")
    server = uvicorn.Server(uvicorn.Config(
        app, http=protocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1,
        timeout_keep_alive=60, proxy_headers=bool(proxies), forwarded_allow_ips=proxies or None,
    ))  # fmt: skip
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    with ExitStack() as stack:

        def open_socket(text=b""):
            client = socket.create_connection(listener.getsockname(), timeout=30)
            stack.callback(client.close)
            client.sendall(text)
            return client

        open_socket.connections = server.server_state.connections
        try:
            yield open_socket
        finally:
            server.should_exit = True
            thread.join()


def read_all(client):
    """Return what comes until the other end closes."""
    chunks = []
    with suppress(ConnectionError):
        while chunk := client.recv(1_000_000):
            chunks.append(chunk)
    return b"".join(chunks)
