"""Waiting for a database that is away, without holding a thread meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import stamina

from projections.store import TransientError

T = TypeVar("T")


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
