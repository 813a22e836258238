"""How far a consumer group is behind, by topic, as the broker has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from time import time
from typing import Any, Final, NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from processor.kafka.connection import unreachable_error
from processor.kafka.consumers import sync_consumer
from processor.kafka.records import plausible_ms
from processor.kafka.topics import POLICY_TOPIC, admin_client, check_topics
from processor.settings import KafkaSettings

#: For the first records that are not committed to come; so many partitions are looked at.
MAX_READ_SECONDS: Final = 3.0
MAX_READ_PARTITIONS: Final = 64


class TopicLag(NamedTuple):
    """A topic, its partitions, and the records that the group has yet to commit of it.

    `seconds` is the age of the oldest of these; 0 without lag, None if it is not known.
    """

    topic: str
    partitions: int
    records: int
    seconds: float | None


def worker_hosts(kafka: KafkaSettings) -> list[str]:
    """Return the hosts of the workers that are members of the group. Raises `BrokerError`."""
    with admin_client(kafka) as client:
        group = client.describe_groups([kafka.group])[kafka.group]
    return sorted(member["client_host"].strip("/") for member in group["members"] or ())


def group_lags(kafka: KafkaSettings) -> list[TopicLag]:
    """Return the lag of each topic that workers read, the largest first. Raises `BrokerError`."""
    names, _ = check_topics(kafka)
    with admin_client(kafka) as client:
        offsets = client.list_group_offsets(kafka.group)[kafka.group]
        described = client.describe_topics([*names, POLICY_TOPIC])
    counts = {topic["name"]: len(topic["partitions"]) for topic in described}
    places = [TopicPartition(name, n) for name, count in counts.items() for n in range(count)]
    try:
        consumer = sync_consumer(kafka)
        try:
            ends, starts = consumer.end_offsets(places), consumer.beginning_offsets(places)
            first = {
                place: max(offsets[place].offset if place in offsets else 0, starts[place])
                for place in places
            }
            lags = {place: max(0, ends[place] - first[place]) for place in places}
            behind = {place: first[place] for place in places if lags[place]}
            times = _record_times(consumer, behind)
        finally:
            consumer.close()
    except (KafkaError, OSError) as error:
        raise unreachable_error(kafka, error) from error
    return sorted(_by_topic(counts, lags, times), key=lambda each: (-each.records, each.topic))


def _by_topic(
    counts: Mapping[str, int], lags: Mapping[Any, int], times: Mapping[Any, float]
) -> Iterable[TopicLag]:
    records: defaultdict[str, int] = defaultdict(int)
    oldest: dict[str, float] = {}
    for place, lag in lags.items():
        records[place.topic] += lag
        if place in times:
            oldest[place.topic] = min(oldest.get(place.topic, times[place]), times[place])
    for topic, count in counts.items():
        at = oldest.get(topic)
        age = None if at is None else max(0.0, time() - at)
        yield TopicLag(topic, count, records[topic], age if records[topic] else 0.0)


def _record_times(consumer: KafkaConsumer, offsets: Mapping[Any, int]) -> dict[Any, float]:
    """Return the times of the records at these offsets, since 1970, as far as they come in time."""
    missing = dict(list(offsets.items())[:MAX_READ_PARTITIONS])
    times: dict[Any, float] = {}
    deadline = time() + MAX_READ_SECONDS
    while missing and time() < deadline:
        consumer.assign(list(missing))
        for place, offset in missing.items():
            consumer.seek(place, offset)
        for place, records in consumer.poll(timeout_ms=500, max_records=len(missing)).items():
            times[place] = plausible_ms(records[0].timestamp) / 1000
            missing.pop(place, None)
    return times
