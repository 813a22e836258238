"""Serves an ASGI application until TERM or Ctrl-C, after the requests under way."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from prometheus_client import start_http_server

from processor.settings import SettingsError

#: Requests and connections at once; more are answered with 503 at once.
_MOST_AT_ONCE = 1_000


def serve(
    app: Any, *, host: str, port: int, group: str, metrics_port: int, greet: Callable[[], None]
) -> None:
    """Listen at `host` and `port`, call `greet`, and serve until told to stop.

    `group` names the settings of both. Raises `SettingsError` if the address cannot be had.
    """
    with _listening(host, port, group) as listener:
        if metrics_port:
            start_http_server(metrics_port, addr="127.0.0.1")
        greet()
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_MOST_AT_ONCE,
                timeout_graceful_shutdown=20,
            )
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn stops on these, and then passes them on to the handler that was here before.
            signal.signal(number, _ignored)
        server.run(sockets=[listener])


def _ignored(_number: int, _frame: object) -> None:
    """Do nothing: the server has stopped already."""


def _listening(host: str, port: int, group: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"SENDLOG_{group}__HOST, __PORT: cannot listen at {host}:{port}: {error.strerror}"
        ) from None
