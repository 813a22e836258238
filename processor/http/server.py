"""Serves an ASGI application until TERM or Ctrl-C; pending requests are finished first.

Its requests are counted and timed, by route and class of status.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Protocol

import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from processor import metrics
from processor.http.connections import BoundedProtocol
from processor.metrics import Part
from processor.metrics_server import ask_loop, serve_metrics
from processor.settings import Settings, SettingsError
from projections.tls import TlsFiles, check_certificate

#: That the system accepts before the server does: no more than it takes at once.
LISTEN_BACKLOG: Final = 256
#: How long a browser that came by https comes by nothing else: a year.
HSTS_HEADER: Final = ("strict-transport-security", "max-age=31536000")

#: Of requests that no route takes: their paths are anybody's.
NO_ROUTE: Final = "none"
#: Of requests whose client went away before there was an answer.
_NO_ANSWER: Final = "none"


class HttpServer(Protocol):
    """Settings of a server: where it listens, its certificate, the proxies in front of it."""

    host: str
    port: int
    proxies: str
    certificate_file: Path | None
    key_file: Path | None
    key_password: SecretStr

    @property
    def is_https(self) -> bool:
        """Whether clients come by https: by its certificate, or a proxy's."""


def serve_http(
    app: Any, server: HttpServer, part: Part, *, settings: Settings, on_start: Callable[[str], None]
) -> None:
    """Listen, call `on_start` with the address, and serve until a signal.

    `server` is the group of the part's settings. Only the proxies that it names may say who asks,
    and that it was by https. Raises `SettingsError` if the address is not available, and
    `TlsFileError`.
    """
    group = f"SENDLOG_{part.upper()}"
    encryption = _encryption(server, group)
    with listening(server.host, server.port, f"{group}__HOST, __PORT") as listener:
        counted = RequestMetrics(app)

        def live() -> Sequence[str]:
            return ask_loop(counted.loop, tuple) if counted.loop else ["it is starting"]

        serve_metrics(settings, part, {"/livez": live})
        on_start(f"http{'s' if encryption else ''}://{server.host}:{server.port}")
        process = uvicorn.Server(
            uvicorn.Config(
                counted,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=bool(server.proxies),
                forwarded_allow_ips=server.proxies or None,
                headers=[HSTS_HEADER] if server.is_https else None,
                http=BoundedProtocol,
                ws="none",
                backlog=LISTEN_BACKLOG,
                timeout_graceful_shutdown=20,
                **encryption,
            )
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn stops on these, and then calls the handler that was set before.
            signal.signal(number, _ignore)
        process.run(sockets=[listener])


def _encryption(server: HttpServer, group: str) -> dict[str, Any]:
    """Return uvicorn's settings for the certificate of a server, if it has one.

    The files are tried before, for uvicorn would end with a traceback. Raises `TlsFileError`.
    """
    if server.certificate_file is None:
        return {}
    password = server.key_password.get_secret_value()
    files = TlsFiles(
        group=group, certificate=server.certificate_file, key=server.key_file, key_password=password
    )
    check_certificate(files)
    return {
        "ssl_certfile": str(server.certificate_file),
        "ssl_keyfile": str(server.key_file),
        "ssl_keyfile_password": password or None,
    }


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: the server has already stopped."""


def listening(host: str, port: int, variables: str) -> socket.socket:
    """Return a socket that listens; `variables` are its settings.

    Raises `SettingsError` if the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"{variables}: cannot listen at {host}:{port}: {error.strerror}"
        ) from None


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
