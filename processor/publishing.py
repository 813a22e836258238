"""Publishing from the worker: a batch of records, on its way until the broker has all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import faust


class Outgoing(NamedTuple):
    """A record to publish; without a partition the key decides."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


#: Publishes records; returns when the broker has them.
Publish: TypeAlias = Callable[[Sequence[Outgoing]], Awaitable[None]]


async def publish(app: faust.App, records: Sequence[Outgoing]) -> None:
    """Publish records; return when the broker has them. Raises what the broker refused."""
    producer = await app.maybe_start_producer()
    sent = [
        await producer.send(
            each.topic, each.key, each.value, each.partition, None, list(each.headers)
        )
        for each in records
    ]
    await asyncio.gather(*sent)  # not a flush: that waits for what others send, too
