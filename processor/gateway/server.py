"""Runs the gateway: settings in, a server that listens until it is told to stop."""

from __future__ import annotations

import signal
import socket

import uvicorn
from prometheus_client import start_http_server

from processor.gateway.app import build
from processor.gateway.hooks import configured
from processor.logging import get
from processor.settings import Settings, SettingsError

log = get(__name__)

#: Requests and connections at once; more are answered with 503 at once.
_MOST_AT_ONCE = 1_000


def run_gateway(settings: Settings) -> None:
    """Serve until TERM or Ctrl-C. Raises `SettingsError` if it cannot start."""
    gateway = settings.gateway
    hooks = configured(gateway)
    unverified = sorted(".".join(place) for place, hook in hooks.items() if not hook.verified)
    if unverified:
        log.warning("hooks_unverified", hooks=unverified)
    app = build(settings.kafka, hooks, public_url=gateway.public_url, timeout=gateway.timeout)
    with _listening(gateway.host, gateway.port) as listener:
        if settings.metrics_port:
            start_http_server(settings.metrics_port, addr="127.0.0.1")
        log.info(
            "gateway_starting",
            address=f"http://{gateway.host}:{gateway.port}",
            hooks=sorted(".".join(place) for place in hooks),
        )
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
        log.info("gateway_stopped")


def _ignored(_number: int, _frame: object) -> None:
    """Do nothing: the server has stopped already."""


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"SENDLOG_GATEWAY__HOST, __PORT: cannot listen at {host}:{port}: {error.strerror}"
        ) from None
