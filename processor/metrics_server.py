"""Serves the metrics of a process on an address of their own, and its probes if it has some.

GET /metrics            for Prometheus
GET /livez, /readyz     200 or 503, and as JSON what is wrong
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import Any, Final, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from processor.metrics import Part, registry_of
from processor.settings import Settings, SettingsError

#: Returns what is wrong, a text each; nothing: all is well. It is called on a thread.
Probe: TypeAlias = Callable[[], Sequence[str]]
#: For an event loop to answer.
MAX_LOOP_SECONDS: Final = 5.0
_NO_PROBES: Final[Mapping[str, Probe]] = {}


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind, without the look-up of the host's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = map(str, self.server_address[:2])  # type: ignore[assignment]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its signature
        """Log nothing: probes come every few seconds."""


def serve_metrics(settings: Settings, part: Part, probes: Mapping[str, Probe] = _NO_PROBES) -> None:
    """Serve metrics, and each probe at its path, until the process ends; port 0: not at all.

    Raises `SettingsError` if the address is not available.
    """
    host, port = settings.metrics_host, settings.metrics_port
    if not port:
        return
    metrics = make_wsgi_app(registry_of(part))

    def answer(environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            served: Iterable[bytes] = metrics(environ, start_response)
            return served
        if path not in probes:
            return _answer(start_response, HTTPStatus.NOT_FOUND, {"status": "no such page"})
        if problems := list(probes[path]()):
            body = {"status": "not ok", "missing": problems}
            return _answer(start_response, HTTPStatus.SERVICE_UNAVAILABLE, body)
        return _answer(start_response, HTTPStatus.OK, {"status": "ok"})

    try:
        server = make_server(
            host, port, answer, _Server6 if ":" in host else _Server, _SilentHandler
        )
    except OSError as error:
        raise SettingsError(
            "SENDLOG_METRICS_HOST, SENDLOG_METRICS_PORT: cannot listen at "
            f"{host}:{port}: {error.strerror}"
        ) from None
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def ask_loop(
    loop: asyncio.AbstractEventLoop, questions: Callable[[], Iterable[str]]
) -> Sequence[str]:
    """Return the answers that a function gives on an event loop, or that the loop does not answer.

    It is called on another thread than the loop's.
    """
    answer: Future[list[str]] = Future()

    def ask() -> None:
        answer.set_result(list(questions()))

    try:
        loop.call_soon_threadsafe(ask)
        return answer.result(timeout=MAX_LOOP_SECONDS)
    except (TimeoutError, RuntimeError):  # it is closed
        return [f"the event loop did not answer within {MAX_LOOP_SECONDS:.0f} s"]


def _answer(start_response: Any, status: HTTPStatus, body: Mapping[str, Any]) -> Iterable[bytes]:
    start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
