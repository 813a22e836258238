"""The producer of commands, with kafka-python, and the settings that producers share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from kafka import KafkaProducer
from kafka.errors import KafkaError

from processor.kafka.connection import BrokerError, sync_options, unreachable_error
from processor.kafka.topics import MAX_MESSAGE_BYTES
from processor.settings import KafkaSettings

#: Names and values, in order.
RecordHeaders: TypeAlias = Sequence[tuple[str, bytes]]

#: What all producers of many records have in common.
COMPRESSION: Final = "lz4"
MAX_BATCH_BYTES: Final = 262_144
MAX_REQUEST_BYTES: Final = MAX_MESSAGE_BYTES
LINGER_MS: Final = 20
#: Seconds to wait for the acknowledgement of a record that was flushed.
ACK_TIMEOUT_SECONDS: Final = 60


class SyncProducer:
    """Sends records when called; `flush` waits until the broker has all of them."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._producer = producer
        #: Each topic that a record was sent to, with the future of its acknowledgement.
        self._pending: list[tuple[str, Any]] = []

    def __call__(
        self,
        topic: str,
        value: bytes,
        headers: RecordHeaders = (),
        *,
        key: bytes | None = None,
        partition: int | None = None,
    ) -> None:
        """Send one record; without a partition its key decides.

        Raises `BrokerError` if it cannot be sent at all.
        """
        try:
            future = self._producer.send(
                topic, value=value, key=key, headers=list(headers), partition=partition
            )
        except KafkaError as error:
            raise BrokerError(f"topic {topic} does not take the record: {error}") from error
        self._pending.append((topic, future))

    def flush(self) -> None:
        """Wait for the broker. Raises `BrokerError` for the first record that it did not take."""
        self._producer.flush()
        pending, self._pending = self._pending, []
        for topic, future in pending:
            try:
                future.get(timeout=ACK_TIMEOUT_SECONDS)
            except KafkaError as error:
                raise BrokerError(f"topic {topic} did not take a record: {error}") from error


@contextmanager
def sync_producer(kafka: KafkaSettings) -> Iterator[SyncProducer]:
    """Yield a producer that is flushed at the end. Raises `BrokerError` if no broker answers."""
    try:
        client = KafkaProducer(
            **sync_options(kafka),
            acks="all",
            enable_idempotence=True,  # what is sent again after a lost answer is there once
            linger_ms=LINGER_MS,
            batch_size=MAX_BATCH_BYTES,
            compression_type=COMPRESSION,
            max_request_size=MAX_REQUEST_BYTES,
            max_block_ms=30_000,
        )
    except (KafkaError, OSError) as error:
        raise unreachable_error(kafka, error) from error
    producer = SyncProducer(client)
    try:
        yield producer
        producer.flush()
    finally:
        client.close(timeout=10)
