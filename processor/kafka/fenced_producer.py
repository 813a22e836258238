"""A producer that publishes in transactions, and of which there is only one at a time.

Whoever opens one takes over its transactional id: what the one before it had not committed is
aborted, and it can never write again, however long it was paused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from processor.kafka.batch_producer import OutgoingRecord, by_partition, filled_batches
from processor.kafka.connection import async_options, started
from processor.kafka.producer import COMPRESSION, MAX_BATCH_BYTES, MAX_REQUEST_BYTES
from processor.settings import KafkaSettings
from schemas.events import EPOCH

#: The broker aborts a transaction that is open for longer; until then those who read only what is
#: committed wait for it.
TRANSACTION_TIMEOUT_MS: Final = 30_000
#: The broker's answer where a topic has the times of its senders.
_SENDER_TIME: Final = -1


class TransactionLostError(Exception):
    """A transaction was not committed, or nobody knows; its producer can do nothing more.

    Another one has taken over, or the broker gave it up.
    """


class FencedProducer:
    """Publishes records, all of them or none; `open` one."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        #: Held during a transaction: there is one at a time, and it ends before the producer does.
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, kafka: KafkaSettings, transactional_id: str) -> FencedProducer:
        """Take over a transactional id. Raises `KafkaError` if no broker answers."""
        producer = AIOKafkaProducer(
            **async_options(kafka),
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            compression_type=COMPRESSION,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
        )
        return cls(await started(producer))

    async def publish(self, records: Sequence[OutgoingRecord]) -> datetime | None:
        """Publish records in a transaction; return the broker's time if their topics have it.

        Raises `TransactionLostError`: nothing of it counts, unless just the answer was lost.
        """
        async with self._lock:
            try:
                await self._producer.begin_transaction()
                acks = await self._send(records)
                await self._producer.commit_transaction()
            except (KafkaError, AssertionError) as error:  # the latter: it was lost before
                raise TransactionLostError(str(error) or type(error).__name__) from error
        times = [ack.timestamp for ack in acks if ack.timestamp != _SENDER_TIME]
        return EPOCH + timedelta(milliseconds=max(times)) if times else None

    async def _send(self, records: Sequence[OutgoingRecord]) -> list[Any]:
        """Send records; return what the broker answered to each batch of Kafka's."""
        producer, acks = self._producer, []
        for topic in {record.topic for record in records}:
            await producer.partitions_for(topic)  # from here on the producer knows them
        for (topic, partition), of_partition in by_partition(producer, records).items():
            for batch, _ in filled_batches(producer, of_partition):
                acks.append(await producer.send_batch(batch, topic, partition=partition))
        return await asyncio.gather(*acks)

    async def close(self) -> None:
        """Disconnect, after the transaction that is under way."""
        async with self._lock:
            await self._producer.stop()
