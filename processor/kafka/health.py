"""Logs once that the broker is away and once that it is back; its clients would log for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from processor import metrics
from processor.kafka.connection import (
    CONNECT_TIMEOUT_SECONDS,
    BrokerError,
    RefusedConnectionError,
    broker_addresses,
    check_connection,
)
from processor.logging import get
from processor.settings import KafkaSettings
from projections.tls import TlsFileError

log = get(__name__)

AWAY: Final = "the broker is away"


def _ignore(_problem: str) -> None:
    """Do nothing."""


async def watch_broker(
    kafka: KafkaSettings, interval: float = 2.0, observe: Callable[[str], None] = _ignore
) -> None:
    """Check every `interval` seconds whether a broker takes a connection; never returns.

    `observe` is called with what `broker_problem` returned, each time. That it begins to refuse us
    while it is away is logged, too: waiting will not mend that.
    """
    away_since: float | None = None
    logged_problem = ""
    while True:
        problem = await broker_problem(kafka)
        metrics.KAFKA_AWAY.set(bool(problem))
        observe(problem)
        if problem and (away_since is None or problem not in {AWAY, logged_problem}):
            away_since = away_since or monotonic()
            logged_problem = problem
            log.warning("kafka_away", bootstrap=kafka.bootstrap, error=problem)
        elif not problem and away_since is not None:
            log.info("kafka_back", seconds=round(monotonic() - away_since, 1))
            away_since, logged_problem = None, ""
        await asyncio.sleep(interval)


async def broker_problem(kafka: KafkaSettings) -> str:
    """Return why no broker takes a connection, or an empty text.

    Where there is encryption or a login, that is tried as well.
    """
    try:
        if kafka.protocol == "PLAINTEXT":
            return "" if await _is_listening(kafka) else AWAY
        await check_connection(kafka)
    except (RefusedConnectionError, TlsFileError) as error:
        return str(error)
    except BrokerError:
        return AWAY
    return ""


async def _is_listening(kafka: KafkaSettings) -> bool:
    """Tell whether one of the brokers takes a connection."""
    for host, port in broker_addresses(kafka):
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            continue
        writer.close()
        return True
    return False
