"""`sendlog api`."""

from __future__ import annotations

from processor.api import run_api
from processor.settings import load


def api() -> None:
    """Run the HTTP API of the log: listings, exports, explanations, statistics, the blacklist.

    Its document is at /api/v1/openapi.json; every request needs a key of `sendlog keys create`.
    Starts whether ClickHouse and Kafka are there or not: /readyz says what is away.
    Stops on TERM or Ctrl-C after the requests under way.
    """
    run_api(load())
