"""ClickHouse by the settings: a client, the target of its tables, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import stamina

from processor.connection_settings import tls_files
from processor.logging import get
from processor.settings import Settings
from projections.clickhouse.client import GROUP, TransientError, connect
from projections.clickhouse.ddl import Target

log = get(__name__)

T = TypeVar("T")

#: Between two attempts while the database is away; the wait doubles from the first to the last.
MIN_WAIT_SECONDS: Final = 0.2
MAX_WAIT_SECONDS: Final = 5.0


def client_of(settings: Settings, *, database: str | None = None) -> Any:
    """Return a ClickHouse client. Raises as `connect` does."""
    clickhouse = settings.clickhouse
    if clickhouse.sends_password_in_clear:
        _warn_of_clear_password(urlsplit(clickhouse.url).hostname or "")
    return connect(
        clickhouse.url,
        user=clickhouse.user,
        password=clickhouse.password.get_secret_value(),
        database=clickhouse.database if database is None else database,
        timeout=clickhouse.timeout,
        files=tls_files(clickhouse, GROUP),
    )


@cache
def _warn_of_clear_password(host: str) -> None:
    log.warning("clickhouse_password_in_clear", host=host, instead="https://")


def target_of(settings: Settings) -> Target:
    """Return the database and the cluster of the tables."""
    return Target(settings.clickhouse.database, settings.clickhouse.cluster)


async def retry_while_away(
    work: Callable[[], T], on_wait: Callable[[TransientError], None] = lambda _: None
) -> T:
    """Run `work` on a thread until it does not raise `TransientError`; return its result.

    `on_wait` is called with each such error before the wait.
    """
    async for attempt in stamina.retry_context(
        on=TransientError,
        attempts=None,
        timeout=None,
        wait_initial=MIN_WAIT_SECONDS,
        wait_max=MAX_WAIT_SECONDS,
    ):
        with attempt:
            try:
                return await asyncio.to_thread(work)
            except TransientError as error:
                on_wait(error)
                raise
    raise AssertionError  # there is no last attempt
