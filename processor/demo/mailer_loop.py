"""The loop of the reference mailer: a mailer's client, and the scenes that are played beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaConsumer

from processor.client import mailer_client
from processor.client.connection import whole_topic
from processor.demo.mailer import make_attempt
from processor.demo.scenes import DecisionTimes, Scene, ScenePlayer
from processor.kafka.acls import MAILER_GROUP
from processor.kafka.producer import sync_producer
from processor.kafka.topics import COMMANDS_TOPIC, DECISIONS_TOPIC
from processor.suppression_commands import signature_headers

if TYPE_CHECKING:
    from processor.settings import KafkaSettings

_CLIENT_ID: Final = "sendlog-demo-mailer"
_POLL_TIMEOUT_MS: Final = 200


def run_reference_mailer(
    kafka: KafkaSettings, tenant: str, scenes: Sequence[Scene], stop: Event
) -> None:
    """Be the mailer of a tenant, and play `scenes`, until `stop` is set.

    Raises `BrokerError` if no broker answers, refuses, or lacks a topic.
    """
    with mailer_client(
        kafka, group=MAILER_GROUP, tenants=(tenant,), client_id=_CLIENT_ID
    ) as client:
        if not scenes:  # only they look at decisions: a mailer needs no right to read them
            client.run(make_attempt, stop)
            return
        blacklist = client.read_blacklist()
        players, decisions = [ScenePlayer(scene) for scene in scenes], DecisionTimes()
        decisions_read = whole_topic(kafka, DECISIONS_TOPIC, _CLIENT_ID)
        with decisions_read as consumer, sync_producer(kafka) as send:
            ends = consumer.end_offsets(consumer.assignment())
            while not stop.is_set():
                for record in _records(consumer):
                    decisions.add(record.value)
                if any(consumer.position(place) < end for place, end in ends.items()):
                    continue  # a step that was played must not be played again
                now = datetime.now(UTC)
                for player in players:
                    for topic, key, value in player.advance(decisions, blacklist, now):
                        is_command = topic == COMMANDS_TOPIC
                        headers = signature_headers(kafka, key, value) if is_command else ()
                        send(topic, value, headers, key=key)
                send.flush()
                client.step(make_attempt)


def _records(consumer: KafkaConsumer) -> Iterator[Any]:
    for records in consumer.poll(timeout_ms=_POLL_TIMEOUT_MS).values():
        yield from (record for record in records if record.value is not None)
