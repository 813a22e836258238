"""More partitions for topics, with the record of each key where the key then belongs.

An address has its partition by the number of partitions. So with more of them its state, its entry
and what was fed about it have to move: written where they belong and, in the same transaction,
deleted where they were. The transactions are those of the workers, so that one which was paused
can write no more. Whatever ends this half-way, it can be run again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, NamedTuple

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError
from kafka.partitioner import murmur2

from processor.intake.policy_feed import entry_of, lines_of, partition_of
from processor.kafka.connection import BrokerError, sync_options
from processor.kafka.consumers import sync_consumer
from processor.kafka.producer import COMPRESSION, MAX_REQUEST_BYTES
from processor.kafka.topics import (
    POLICY_STATE_TOPIC,
    POLICY_TOPIC,
    SUPPRESSIONS_TOPIC,
    admin_client,
    declared_topics,
    partition_counts,
)
from processor.policy.state_store import transactional_id
from processor.settings import KafkaSettings
from schemas.addresses import Address
from schemas.errors import ExplainedError

#: Records that move in one transaction.
MAX_MOVED_RECORDS: Final = 2_000
MOVE_TIMEOUT_MS: Final = 120_000
POLL_TIMEOUT_MS: Final = 1_000


class GrowthError(ExplainedError):
    """Topics cannot grow; the text says why, and what to do."""


class Move(NamedTuple):
    """A record that belongs to another partition; without a key it is not deleted where it was."""

    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    target: int


def state_partition(key: bytes, partitions: int) -> int:
    """Return the partition of an address's state, by its key."""
    return partition_of(Address.parse(key.decode()), partitions)


def default_partition(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's producers choose by a key."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def _place_of(topic: str) -> Callable[[bytes, int], int] | None:
    """Return what gives the partition of a key, None unless only a key's last record counts."""
    if topic == POLICY_STATE_TOPIC:
        return state_partition
    is_blacklist = topic == SUPPRESSIONS_TOPIC or topic.startswith(f"{SUPPRESSIONS_TOPIC}.")
    return default_partition if is_blacklist else None


def topics_to_grow(kafka: KafkaSettings, topic: str) -> list[str]:
    """Return the topics that grow with one, or those of `all`. Raises `GrowthError`."""
    names = [declared.name for declared in declared_topics(kafka)]
    if topic == "all":
        return names
    if topic in {POLICY_TOPIC, POLICY_STATE_TOPIC}:
        return [POLICY_TOPIC, POLICY_STATE_TOPIC]
    if topic not in names:
        raise GrowthError(f"{topic} is no topic of Sendlog; there are: all, {', '.join(names)}")
    return [topic]


def grow(kafka: KafkaSettings, names: Sequence[str], partitions: int) -> Iterator[str]:
    """Give topics so many partitions, move what has to, and yield a line for each step.

    Raises `GrowthError` while workers run or if a topic has more, and `BrokerError`.
    """
    counts = partition_counts(kafka, names)
    if larger := [name for name in names if counts[name] > partitions]:
        raise GrowthError(f"{larger[0]} has {counts[larger[0]]} partitions: Kafka takes none away")
    with admin_client(kafka) as client:
        if members := client.describe_groups([kafka.group])[kafka.group]["members"]:
            raise GrowthError(
                f"{len(members)} workers of the group {kafka.group} run: stop them first, for they "
                "know where each address belongs by the number of partitions"
            )
        if smaller := {name: partitions for name in names if counts[name] < partitions}:
            client.create_partitions(smaller)
            client.wait_for_topics(list(smaller))
    for name in smaller:
        yield f"{name} has {partitions} partitions instead of {counts[name]}"
    try:
        for name in names:
            if place := _place_of(name):
                yield f"moved {_move_keys(kafka, name, place, partitions):,} keys of {name}"
        if POLICY_TOPIC in names:
            yield f"moved {_move_feed(kafka, partitions):,} records of {POLICY_TOPIC}"
    except KafkaError as error:
        raise BrokerError(f"Kafka at {kafka.bootstrap}: {error!r}; run it again") from error


def _move_keys(
    kafka: KafkaSettings, topic: str, place: Callable[[bytes, int], int], partitions: int
) -> int:
    moved = 0
    for number in range(partitions):
        latest: dict[bytes, Any] = {}
        for record in _records(kafka, TopicPartition(topic, number)):
            latest[record.key] = record
        moved += _move(kafka, TopicPartition(topic, number), (
            Move(key, record.value, record.headers, place(key, partitions))
            for key, record in latest.items()
            if record.value is not None and place(key, partitions) != number
        ))  # fmt: skip
    return moved


def _move_feed(kafka: KafkaSettings, partitions: int) -> int:
    """Move what the policy has not read yet, a line at a time, and commit that it has."""
    moved = 0
    with admin_client(kafka) as client:
        committed = client.list_group_offsets(kafka.group)[kafka.group]
    for number in range(partitions):
        place = TopicPartition(POLICY_TOPIC, number)
        start, end = committed.get(place), None
        lines: defaultdict[int, list[bytes]] = defaultdict(list)
        for record in _records(kafka, place, start.offset if start else 0):
            end = record.offset + 1
            for line in lines_of(record.value or b""):
                lines[_line_partition(line, partitions, number)].append(line)
        if end is None or set(lines) <= {number}:
            continue
        moved += _move(kafka, place, (
            Move(None, line, (), target) for target, of_target in lines.items()
            for line in of_target
        ))  # fmt: skip
        with admin_client(kafka) as client:
            client.alter_group_offsets(kafka.group, {place: OffsetAndMetadata(end, "", -1)})
    return moved


def _line_partition(line: bytes, partitions: int, number: int) -> int:
    try:
        address, _ = entry_of(line)
    except ValueError:
        return number  # it becomes a dead letter
    return partition_of(address, partitions)


def _move(kafka: KafkaSettings, source: TopicPartition, moves: Iterator[Move]) -> int:
    count = 0
    with _producer(kafka, source.partition) as producer:
        while some := list(islice(moves, MAX_MOVED_RECORDS)):
            producer.begin_transaction()
            for key, value, headers, target in some:
                producer.send(
                    source.topic, key=key, value=value, headers=list(headers), partition=target
                )
                if key is not None:
                    producer.send(source.topic, key=key, value=None, partition=source.partition)
            producer.commit_transaction()
            count += len(some)
    return count


def _records(kafka: KafkaSettings, place: TopicPartition, start: int = 0) -> Iterator[Any]:
    """Yield the records of a partition up to its end now."""
    consumer = sync_consumer(kafka, auto_offset_reset="earliest")
    try:
        consumer.assign([place])
        end = consumer.end_offsets([place])[place]
        consumer.seek(place, max(start, consumer.beginning_offsets([place])[place]))
        while consumer.position(place) < end:
            yield from consumer.poll(POLL_TIMEOUT_MS).get(place, ())
    finally:
        consumer.close()


@contextmanager
def _producer(kafka: KafkaSettings, number: int) -> Iterator[KafkaProducer]:
    """Yield the producer of a partition of the policy; no worker can write for it any more."""
    producer = KafkaProducer(
        **sync_options(kafka),
        transactional_id=transactional_id(kafka.group, number),
        transaction_timeout_ms=MOVE_TIMEOUT_MS,
        compression_type=COMPRESSION,
        max_request_size=MAX_REQUEST_BYTES,
    )
    try:
        producer.init_transactions()
        yield producer
    finally:
        producer.close(timeout=10)
