"""How far the group has written what is in Kafka, and to have it written anew from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kafka import TopicPartition
from kafka.errors import NoError
from kafka.structs import OffsetAndMetadata

from processor.kafka.connection import BrokerError
from processor.kafka.group_lag import worker_hosts
from processor.kafka.topics import COMMANDS_TOPIC, admin_client, check_topics
from processor.settings import KafkaSettings

#: A command is obeyed once and leads to no row; its decisions do. Read anew it would be a new wish.
_NOT_WRITTEN: Final = frozenset({COMMANDS_TOPIC})

Offsets = Mapping[tuple[str, int], int]


def written_offsets(kafka: KafkaSettings) -> Offsets:
    """Return, of each partition that rows are made of, the offset up to which they are written.

    0 where nothing was committed. Raises `BrokerError`.
    """
    names = sorted({*check_topics(kafka)[0]} - _NOT_WRITTEN)
    with admin_client(kafka) as client:
        committed = client.list_group_offsets(kafka.group)[kafka.group]
        described = client.describe_topics(names)
    places = [
        TopicPartition(topic["name"], number)
        for topic in described for number in range(len(topic["partitions"]))
    ]  # fmt: skip
    return {
        tuple(place): max(committed[place].offset, 0) if place in committed else 0
        for place in places
    }  # fmt: skip


def check_no_worker(kafka: KafkaSettings) -> None:
    """Raise `BrokerError` if a worker is a member of the group, or no broker answers."""
    if hosts := worker_hosts(kafka):
        raise BrokerError(
            f"workers of the group {kafka.group} run on {', '.join(sorted(set(hosts)))}: stop them "
            "first; one that was killed counts for a minute more"
        )


def rewind(kafka: KafkaSettings, offsets: Offsets) -> int:
    """Let the group go on where it was, and in partitions it was not in from their beginning.

    Returns how many records are read anew. No worker may run. Raises `BrokerError`.
    """
    before = written_offsets(kafka)
    after = {place: min(offsets.get(place, 0), offset) for place, offset in before.items()}
    moved = {place: offset for place, offset in after.items() if offset < before[place]}
    with admin_client(kafka) as client:
        answers = client.alter_group_offsets(
            kafka.group,
            {TopicPartition(*place): OffsetAndMetadata(offset, "", None)
             for place, offset in moved.items()},
        )  # fmt: skip
    if refused := [place for place, error in answers.items() if error is not NoError]:
        raise BrokerError(
            f"Kafka did not take the offsets of {len(refused)} partitions of the group "
            f"{kafka.group}: is a worker running?"
        )
    return sum(before[place] - after[place] for place in moved)
