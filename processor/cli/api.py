"""`sendlog api`."""

from __future__ import annotations

from processor.api import run_api
from processor.settings import load


def run_api_command() -> None:
    """Run the web pages and the HTTP API of the log.

    The pages are at /; sign in with a key of `sendlog keys create`. Every request to the API needs
    one too; its document is at /api/v1/openapi.json.
    Starts whether ClickHouse and Kafka are there or not: /readyz says what is away.
    Stops on TERM or Ctrl-C after the requests under way.
    """
    run_api(load())
