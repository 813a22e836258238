"""The loop of the reference mailer: what it reads from Kafka, and when it commits.

At each start it reads the whole blacklist before it sends anything. A retry is committed when the
broker has its events. After a crash in between, the retry is made again, with the same events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from processor.demo.feed import FeedError
from processor.demo.mailer import Mailer, MailerRecord
from processor.demo.scenes import DecisionTimes, Scene, ScenePlayer
from processor.kafka.acls import MAILER_GROUP
from processor.kafka.consumers import sync_consumer
from processor.kafka.producer import SyncProducer, sync_producer
from processor.kafka.topics import DECISIONS_TOPIC, RETRIES_TOPIC, SUPPRESSIONS_TOPIC
from processor.logging import get

if TYPE_CHECKING:
    from processor.settings import KafkaSettings

log = get(__name__)

POLL_TIMEOUT_MS: Final = 200


def run_reference_mailer(
    kafka: KafkaSettings, tenant: str, scenes: Sequence[Scene], stop: Event
) -> None:
    """Be the mailer of a tenant, and play `scenes`, until `stop` is set.

    Raises `FeedError` if a topic is missing, `BrokerError` if no broker answers, or it refuses.
    """
    mailer, decisions = Mailer(tenant), DecisionTimes()
    players = [ScenePlayer(scene) for scene in scenes]
    with sync_producer(kafka) as send:
        # Only scenes look at decisions: a mailer needs no right to read them.
        decided = (DECISIONS_TOPIC,) if players else ()
        state_consumer = _consumer_from_start(kafka, (SUPPRESSIONS_TOPIC, *decided))
        retry_consumer = _consumer(kafka, group_id=MAILER_GROUP)
        retry_consumer.subscribe([RETRIES_TOPIC])
        try:
            ends = state_consumer.end_offsets(state_consumer.assignment())
            while not stop.is_set():
                for record in _records(state_consumer):
                    _apply(record, mailer, decisions)
                if any(state_consumer.position(place) < end for place, end in ends.items()):
                    continue  # nothing is sent before the whole blacklist is read
                ends = {}
                now = datetime.now(UTC)
                for player in players:
                    _publish(send, player.advance(decisions, mailer, now))
                _make_retries(retry_consumer, mailer, send)
        finally:
            state_consumer.close()
            retry_consumer.close()


def _make_retries(consumer: KafkaConsumer, mailer: Mailer, send: SyncProducer) -> None:
    requests = list(_records(consumer))
    for request in requests:
        records = mailer.make_retry(request.value, datetime.now(UTC))
        _publish(send, records)
        log.debug("retry", id=request.key.decode(), made=bool(records))
    if requests:
        send.flush()
        consumer.commit()


def _publish(send: SyncProducer, records: Iterable[MailerRecord]) -> None:
    for record in records:
        send(record.topic, record.value, key=record.key)


def _apply(record: Any, mailer: Mailer, decisions: DecisionTimes) -> None:
    if record.topic == SUPPRESSIONS_TOPIC:
        mailer.apply_suppression(record.key, record.value)
    elif record.value is not None:
        decisions.add(record.value)


def _consumer_from_start(kafka: KafkaSettings, names: Sequence[str]) -> KafkaConsumer:
    """Return a consumer without a group that reads topics from their beginning."""
    consumer = _consumer(kafka)
    partitions = []
    for name in names:
        numbers = consumer.partitions_for_topic(name)
        if not numbers:
            consumer.close()
            raise FeedError(
                f"Kafka at {kafka.bootstrap} has no topic {name}: run `sendlog topics apply`"
            )
        partitions += [TopicPartition(name, number) for number in numbers]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    return consumer


def _consumer(kafka: KafkaSettings, **options: Any) -> KafkaConsumer:
    try:
        return sync_consumer(
            kafka,
            client_id="sendlog-demo-mailer",
            auto_offset_reset="earliest",
            **options,
        )
    except KafkaError as error:
        raise FeedError(f"no Kafka at {kafka.bootstrap}: start it (`sendlog up`)") from error


def _records(consumer: KafkaConsumer) -> Iterator[Any]:
    for records in consumer.poll(timeout_ms=POLL_TIMEOUT_MS).values():
        yield from records
