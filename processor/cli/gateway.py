"""`sendlog gateway`."""

from __future__ import annotations

from processor.gateway.server import run_gateway
from processor.settings import load


def run_gateway_command() -> None:
    """Run the gateway: take providers' webhooks, verify them, hand them to Kafka unchanged.

    A webhook is answered with 2xx only when Kafka has it; while Kafka is away the answer is 503,
    and the provider tries again. Which webhooks are taken is in SENDLOG_GATEWAY__SECRETS_FILE.
    Stops on TERM or Ctrl-C after the requests under way.
    """
    run_gateway(load())
