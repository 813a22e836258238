"""Logs once that the broker is away and once that it is back; its clients would log for ever."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from processor.logging import get

log = get(__name__)

CONNECT_TIMEOUT_SECONDS: Final = 5


async def watch_broker(bootstrap: str, interval: float = 2.0) -> None:
    """Check every `interval` seconds whether a broker takes a connection; never returns."""
    away_since: float | None = None
    while True:
        reachable = await broker_answers(bootstrap)
        if not reachable and away_since is None:
            away_since = monotonic()
            log.warning("kafka_away", bootstrap=bootstrap)
        elif reachable and away_since is not None:
            log.info("kafka_back", seconds=round(monotonic() - away_since, 1))
            away_since = None
        await asyncio.sleep(interval)


async def broker_answers(bootstrap: str) -> bool:
    """Tell whether one of the brokers takes a connection."""
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError):
            continue
        writer.close()
        return True
    return False
