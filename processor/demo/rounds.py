"""The reference mailer at work: what it reads of Kafka, and when it commits.

The blacklist is read whole at each start, before anything is sent. A retry is committed when the
broker has the report of it: after a crash between, it comes again, and its report is a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from processor.demo.feed import FeedError
from processor.demo.mailer import Mailer, Post
from processor.demo.scenes import Decided, Play, Scene
from processor.kafka.producer import Sender, producer
from processor.kafka.topics import DECISIONS, RETRIES, SUPPRESSIONS
from processor.logging import get

if TYPE_CHECKING:
    from processor.settings import Kafka

log = get(__name__)

GROUP: Final = "sendlog-demo-mailer"
#: Milliseconds to wait for records in one look.
_LOOK: Final = 200


def run(kafka: Kafka, tenant: str, played: Sequence[Scene], stop: Event) -> None:
    """Be the mailer of a tenant until `stop` is set.

    Raises `FeedError` if a topic is missing, `BrokerError` if no broker answers or takes a report.
    """
    mailer, decided = Mailer(tenant), Decided()
    plays = [Play(scene) for scene in played]
    with producer(kafka) as send:
        known = _whole(kafka, (SUPPRESSIONS, DECISIONS))
        asked = _consumer(kafka, group_id=GROUP)
        asked.subscribe([RETRIES])
        try:
            behind = known.end_offsets(known.assignment())
            while not stop.is_set():
                for record in _records(known):
                    _hear(record, mailer, decided)
                if any(known.position(each) < end for each, end in behind.items()):
                    continue  # nothing is sent before the whole blacklist is known
                behind = {}
                now = datetime.now(UTC)
                for play in plays:
                    _publish(send, play.advance(decided, mailer, now))
                _make_retries(asked, mailer, send)
        finally:
            known.close()
            asked.close()


def _make_retries(asked: KafkaConsumer, mailer: Mailer, send: Sender) -> None:
    found = list(_records(asked))
    for record in found:
        made = mailer.obey(record.value, datetime.now(UTC))
        _publish(send, made)
        log.debug("retry", id=record.key.decode(), made=bool(made))
    if found:
        send.flush()
        asked.commit()


def _publish(send: Sender, posts: Sequence[Post] | Iterator[Post]) -> None:
    for post in posts:
        send(post.topic, post.value, key=post.key)


def _hear(record: Any, mailer: Mailer, decided: Decided) -> None:
    if record.topic == SUPPRESSIONS:
        mailer.hear(record.key, record.value)
    elif record.value is not None:
        decided.hear(record.value)


def _whole(kafka: Kafka, names: Sequence[str]) -> KafkaConsumer:
    """Return a consumer of all that topics hold, from the beginning, of no group."""
    consumer = _consumer(kafka)
    partitions = []
    for name in names:
        there = consumer.partitions_for_topic(name)
        if not there:
            consumer.close()
            raise FeedError(
                f"Kafka at {kafka.bootstrap} has no topic {name}: run `sendlog topics apply`"
            )
        partitions += [TopicPartition(name, number) for number in there]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    return consumer


def _consumer(kafka: Kafka, **options: Any) -> KafkaConsumer:
    try:
        return KafkaConsumer(
            bootstrap_servers=kafka.bootstrap.split(","), client_id="sendlog-demo-mailer",
            auto_offset_reset="earliest", enable_auto_commit=False, **options,
        )  # fmt: skip
    except KafkaError as error:
        raise FeedError(f"no Kafka at {kafka.bootstrap}: start it (`sendlog up`)") from error


def _records(consumer: KafkaConsumer) -> Iterator[Any]:
    for records in consumer.poll(timeout_ms=_LOOK).values():
        yield from records
