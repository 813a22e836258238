"""Serves an ASGI application until TERM or Ctrl-C; pending requests are finished first."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from prometheus_client import start_http_server

from processor.settings import SettingsError

#: Requests and connections at the same time; more are answered with 503.
MAX_CONCURRENT_REQUESTS = 1_000


def serve_http(
    app: Any, *, host: str, port: int, group: str, metrics_port: int, on_start: Callable[[], None]
) -> None:
    """Listen at `host` and `port`, call `on_start`, and serve until a signal.

    `group` is the settings group of both. Raises `SettingsError` if the address is not available.
    """
    with listening(host, port, f"SENDLOG_{group}__HOST, __PORT") as listener:
        if metrics_port:
            start_http_server(metrics_port, addr="127.0.0.1")
        on_start()
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MAX_CONCURRENT_REQUESTS,
                timeout_graceful_shutdown=20,
            )
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn stops on these, and then calls the handler that was set before.
            signal.signal(number, _ignore)
        server.run(sockets=[listener])


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: the server has already stopped."""


def listening(host: str, port: int, variables: str) -> socket.socket:
    """Return a socket that listens; `variables` are its settings.

    Raises `SettingsError` if the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"{variables}: cannot listen at {host}:{port}: {error.strerror}"
        ) from None
