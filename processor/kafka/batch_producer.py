"""The worker's producer: publishes a batch of records and waits until the broker has all."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from processor.kafka.patches import partition_for

if TYPE_CHECKING:
    import faust


class OutgoingRecord(NamedTuple):
    """A record to publish; without a partition the key decides."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


#: Publishes records; returns when the broker has them.
Publish: TypeAlias = Callable[[Sequence[OutgoingRecord]], Awaitable[None]]


async def publish_batch(app: faust.App, records: Sequence[OutgoingRecord]) -> None:
    """Publish records with Faust's producer; return when the broker has them.

    Raises `KafkaError` if it refuses one.
    """
    producer = (await app.maybe_start_producer())._ensure_producer()  # noqa: SLF001 - aiokafka's
    await publish_with(producer, records)


async def publish_with(producer: Any, records: Sequence[OutgoingRecord]) -> list[Any]:
    """Publish records with a producer of aiokafka; return what the broker answered to each batch.

    The records of a partition travel in Kafka's own batches, which are filled here: a record sent
    alone has a future and a timer of its own, and costs more than twice as much (E-018).
    Raises `KafkaError` if it refuses one.
    """
    for topic in {record.topic for record in records}:
        await producer.partitions_for(topic)  # from here on the producer knows them
    by_partition: defaultdict[tuple[str, int], list[OutgoingRecord]] = defaultdict(list)
    for record in records:
        number = partition_for(producer, record.topic, record.partition, record.key, record.value)
        by_partition[record.topic, number].append(record)
    acks = await asyncio.gather(
        *(_publish_to(producer, *place, batch) for place, batch in by_partition.items())
    )
    return [ack for of_partition in acks for ack in of_partition]


async def _publish_to(
    producer: Any, topic: str, partition: int, records: Sequence[OutgoingRecord]
) -> list[Any]:
    """Publish records of one partition in their order."""
    acks = []
    batch = producer.create_batch()
    for _, key, value, headers, _ in records:
        # None: the batch is full. An empty one takes a record of any size.
        while batch.append(timestamp=None, key=key, value=value, headers=list(headers)) is None:
            acks.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
    acks.append(await producer.send_batch(batch, topic, partition=partition))
    return await asyncio.gather(*acks)
