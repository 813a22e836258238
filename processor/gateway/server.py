"""Runs the gateway: settings in, a server that listens until it is told to stop."""

from __future__ import annotations

from processor.gateway.app import build
from processor.gateway.hooks import configured
from processor.http_server import serve
from processor.kafka import patches
from processor.logging import get
from processor.settings import Settings

log = get(__name__)


def run_gateway(settings: Settings) -> None:
    """Serve until TERM or Ctrl-C. Raises `SettingsError` if it cannot start."""
    patches.apply()
    gateway = settings.gateway
    hooks = configured(gateway)
    unverified = sorted(".".join(place) for place, hook in hooks.items() if not hook.verified)
    if unverified:
        log.warning("hooks_unverified", hooks=unverified)
    app = build(settings.kafka, hooks, public_url=gateway.public_url, timeout=gateway.timeout)

    def greet() -> None:
        log.info(
            "gateway_starting",
            address=f"http://{gateway.host}:{gateway.port}",
            hooks=sorted(".".join(place) for place in hooks),
        )

    serve(
        app, host=gateway.host, port=gateway.port, group="GATEWAY",
        metrics_port=settings.metrics_port, greet=greet,
    )  # fmt: skip
    log.info("gateway_stopped")
