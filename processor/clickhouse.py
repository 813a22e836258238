"""ClickHouse as the settings name it: a client, where its tables are, waiting while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import stamina

from processor.settings import Settings
from projections.clickhouse.client import TransientError, connect
from projections.clickhouse.ddl import Target

T = TypeVar("T")


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
    """Return where in ClickHouse the tables are."""
    return Target(settings.clickhouse.database, settings.clickhouse.cluster)


async def patiently(
    work: Callable[[], T], waits: Callable[[TransientError], None] = lambda _: None
) -> T:
    """Return what `work` returns, on a thread; again and again while it raises `TransientError`.

    `waits` hears of each before the wait for the next attempt.
    """
    async for attempt in stamina.retry_context(
        on=TransientError, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0
    ):
        with attempt:
            try:
                return await asyncio.to_thread(work)
            except TransientError as error:
                waits(error)
                raise
    raise AssertionError  # there is no last attempt
