"""Publishing to Kafka from commands, with kafka-python: everything acknowledged, or an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from processor.kafka.topics import BrokerError
from processor.settings import Kafka


class Sender:
    """Sends records; `flush` waits until the broker has all of them."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._producer = producer
        self._pending: list[tuple[str, Any]] = []

    def __call__(
        self,
        topic: str,
        value: bytes,
        headers: Sequence[tuple[str, bytes]] = (),
        *,
        key: bytes | None = None,
    ) -> None:
        """Send one record. Raises `BrokerError` if it cannot be sent at all."""
        try:
            sent = self._producer.send(topic, value=value, key=key, headers=list(headers))
        except KafkaError as error:
            raise BrokerError(f"topic {topic} does not take the record: {error}") from error
        self._pending.append((topic, sent))

    def flush(self) -> None:
        """Wait for the broker. Raises `BrokerError` for the first record that it did not take."""
        self._producer.flush()
        pending, self._pending = self._pending, []
        for topic, sent in pending:
            try:
                sent.get(timeout=60)
            except KafkaError as error:
                raise BrokerError(f"topic {topic} did not take a record: {error}") from error


@contextmanager
def producer(kafka: Kafka) -> Iterator[Sender]:
    """Give a sender that is flushed at the end. Raises `BrokerError` if no broker answers."""
    try:
        client = KafkaProducer(
            bootstrap_servers=kafka.bootstrap.split(","),
            acks="all",
            linger_ms=20,
            batch_size=262_144,
            compression_type="lz4",
            max_request_size=16 * 1024 * 1024,
            max_block_ms=30_000,
        )
    except (KafkaError, OSError) as error:
        raise BrokerError(
            f"no Kafka broker answers at {kafka.bootstrap} ({error}); "
            "start one (sendlog up) or set SENDLOG_KAFKA__BOOTSTRAP"
        ) from error
    sender = Sender(client)
    try:
        yield sender
        sender.flush()
    finally:
        client.close(timeout=10)
