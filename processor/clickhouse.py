"""ClickHouse by the settings: a client, the target of its tables, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

import stamina

from processor.settings import Settings
from projections.clickhouse.client import TransientError, connect
from projections.clickhouse.ddl import Target

T = TypeVar("T")

#: Between two attempts while the database is away; the wait doubles from the first to the last.
MIN_WAIT_SECONDS: Final = 0.2
MAX_WAIT_SECONDS: Final = 5.0


def client_of(settings: Settings, *, database: str | None = None) -> Any:
    """Return a ClickHouse client. Raises as `connect` does."""
    clickhouse = settings.clickhouse
    return connect(
        clickhouse.url,
        user=clickhouse.user,
        password=clickhouse.password.get_secret_value(),
        database=clickhouse.database if database is None else database,
        timeout=clickhouse.timeout,
    )


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
