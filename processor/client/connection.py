"""How a client's consumers connect, by the settings that everything connects by, and its topics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from processor.kafka.connection import BrokerError, unreachable_error
from processor.kafka.consumers import sync_consumer
from processor.kafka.topics import mailer_topic

if TYPE_CHECKING:
    from processor.settings import KafkaSettings


def topic_of(shared: str, mailer: str) -> str:
    """Return the topic of a mailer that has its own, or the shared one for "", who has none."""
    return mailer_topic(shared, mailer) if mailer else shared


def connected_consumer(kafka: KafkaSettings, **options: Any) -> KafkaConsumer:
    """Return a consumer that begins with what is oldest. Raises `BrokerError`."""
    try:
        return sync_consumer(kafka, auto_offset_reset="earliest", **options)
    except (KafkaError, OSError) as error:
        raise unreachable_error(kafka, error) from error


@contextmanager
def whole_topic(kafka: KafkaSettings, topic: str, client_id: str) -> Iterator[KafkaConsumer]:
    """Yield a consumer without a group that is at the beginning of all partitions of a topic.

    Raises `BrokerError`, also if there is no such topic.
    """
    consumer = connected_consumer(kafka, client_id=client_id)
    try:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise BrokerError(
                f"Kafka at {kafka.bootstrap} has no topic {topic}: run `sendlog topics apply`"
            )
        consumer.assign([TopicPartition(topic, number) for number in numbers])
        consumer.seek_to_beginning()
        yield consumer
    finally:
        consumer.close()
