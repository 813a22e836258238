"""The composition root of the gateway: settings in, a server that runs until a signal."""

from __future__ import annotations

from typing import Final

from processor.gateway.app import build_gateway
from processor.gateway.hooks import configured_hooks
from processor.http.server import listening, serve_http
from processor.kafka import patches
from processor.kafka.connection import refuse_early
from processor.logging import get
from processor.settings import Settings

log = get(__name__)

#: A shorter secret can be guessed in the long run.
MIN_SECRET_CHARACTERS: Final = 16


def run_gateway(settings: Settings) -> None:
    """Serve until TERM or Ctrl-C.

    Raises `SettingsError`, `LibraryError`, `TlsFileError` or `RefusedConnectionError` if it cannot
    start.
    """
    patches.apply()
    gateway = settings.gateway
    hooks = configured_hooks(gateway)
    refuse_early(settings.kafka)
    unverified_hooks = sorted(".".join(place) for place, hook in hooks.items() if not hook.verified)
    if unverified_hooks:
        log.warning("hooks_unverified", hooks=unverified_hooks)
    short_secrets = sorted(
        ".".join(place)
        for place, hook in hooks.items()
        if 0 < len(hook.secret.get_secret_value()) < MIN_SECRET_CHARACTERS
    )
    if short_secrets:
        log.warning("hooks_with_short_secrets", hooks=short_secrets)
    mail_socket = None
    if gateway.mail_port:
        variables = "SENDLOG_GATEWAY__MAIL_HOST, __MAIL_PORT"
        mail_socket = listening(gateway.mail_host, gateway.mail_port, variables)
    app = build_gateway(settings.kafka, hooks, gateway=gateway, mail_socket=mail_socket)

    def log_start(address: str) -> None:
        log.info(
            "gateway_starting",
            address=address,
            mail=f"{gateway.mail_protocol}://{gateway.mail_host}:{gateway.mail_port}"
            if gateway.mail_port
            else "",
            hooks=sorted(".".join(place) for place in hooks),
        )

    serve_http(app, gateway, "gateway", settings=settings, on_start=log_start)
    log.info("gateway_stopped")
