"""Fixes to aiokafka, and every private part of it that we rely on.

A program that speaks to Kafka in an event loop calls `apply` once, before its first client. It
refuses a version of aiokafka that lacks something we rely on, and warns of one that was not tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache, partial, wraps
from math import inf
from typing import Any, Final, NamedTuple

import aiokafka
from aiokafka.codec import lz4_encode
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer.fetcher import (
    Fetcher,
    FetchResult,
    OffsetResetStrategy,
    PartitionRecords,
)
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import (
    Assignment,
    Subscription,
    SubscriptionState,
    TopicPartitionState,
)
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError
from aiokafka.record._crecords import default_records

from processor.kafka.consumers import ISOLATION_LEVEL
from processor.kafka.private_names import ReliedOn, check_library
from processor.logging import get

log = get(__name__)

#: A chunk ends when its records have this many bytes.
CHUNK_BYTES: Final = 4 * 1024 * 1024
#: The longest that a consumer may read nothing: for ever. aiokafka only compares it.
MAX_POLL_INTERVAL_MS: Final = inf
#: What stands for the end of a partition that the broker has not told yet.
UNKNOWN_END: Final = -1
#: Attributes of a partition's state: the position that is given up, and what came of that.
_ABANDONED: Final = "_abandoned_position"
_RESET: Final = "_last_reset"
#: aiokafka compresses at the highest level, which blocks the event loop; the lowest is much faster,
#: for a few more bytes (E-063).
_LZ4_LEVEL: Final = 1
#: What is replaced, called or read of aiokafka beyond its documentation.
_RELIED_ON: Final[ReliedOn] = {
    aiokafka.conn: ("create_conn",),
    AIOKafkaConnection: ("send", "close"),
    PartitionRecords: ("_consumer_record",),
    FetchResult: (
        "getall", "check_assignment", "has_more", "_update_position", "_topic_partition",
        "_partition_records",
    ),
    TopicPartitionState: ("await_reset", "reset_to", "has_valid_position", "position", "lso"),
    Fetcher: ("request_offset_reset", "error_future"),
    Assignment: ("tps", "state_value"),
    Subscription: ("assignment", "active"),
    SubscriptionState: ("subscription",),
    GroupCoordinator: (
        "check_errors", "request_rejoin", "need_rejoin", "coordinator_id", "generation",
        "_coordination_task", "_heartbeat_task", "_commit_refresh_task",
    ),
    aiokafka.AIOKafkaConsumer: (
        "_fetch_max_wait_ms", "_fetch_min_bytes", "_isolation_level", "_max_poll_interval_ms",
        "_coordinator", "_fetcher", "_subscription", "_closed",
    ),
    aiokafka.AIOKafkaProducer: ("_partition", "create_batch", "send_batch", "partitions_for"),
    default_records: ("lz4_encode",),
}  # fmt: skip


@cache
def apply() -> None:
    """Patch aiokafka, once per process. Raises `LibraryError` if a part relied on is missing."""
    check_library("aiokafka", _RELIED_ON)
    AIOKafkaConnection.send = _with_connection_error(AIOKafkaConnection.send)
    default_records.lz4_encode = partial(lz4_encode, level=_LZ4_LEVEL)
    PartitionRecords._consumer_record = _record_as_read  # noqa: SLF001
    FetchResult.getall = read_chunk
    GroupCoordinator.need_rejoin = _with_changed_subscription(GroupCoordinator.need_rejoin)
    TopicPartitionState.await_reset = _with_abandoned_position(TopicPartitionState.await_reset)
    TopicPartitionState.reset_to = _with_reset(TopicPartitionState.reset_to)


def _with_connection_error(send: Any) -> Any:
    """Return aiokafka's `send` that reports a broken connection as aiokafka expects it.

    When it writes to a closed connection, uvloop raises a `RuntimeError` where asyncio raises the
    `OSError` that aiokafka expects. The error ends the task that keeps a client's metadata, and the
    client waits for that task for ever: after some outages of the broker a worker went on reading
    but never committed again.
    """

    @wraps(send)
    def patched_send(self: Any, request: Any, expect_response: bool = True) -> Any:  # noqa: FBT001, FBT002
        try:
            return send(self, request, expect_response)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken") from error

    return patched_send


def _with_changed_subscription(need_rejoin: Any) -> Any:
    """Return aiokafka's `need_rejoin` that is true of a subscription that was replaced, too.

    A topic may appear, and the consumer subscribe to it, while aiokafka waits for a broker that is
    away. It would then take the old subscription's assignment for the present one, find that it is
    not, and give up all work for the group.
    """

    @wraps(need_rejoin)
    def patched_need_rejoin(self: Any, subscription: Any) -> bool:
        return not subscription.active or need_rejoin(self, subscription)

    return patched_need_rejoin


def _record_as_read(_self: Any, _tp: Any, record: Any) -> Any:
    """Return a record unchanged.

    aiokafka would copy it to add its topic and partition, which a chunk has once (E-034).
    """
    return record


def read_chunk(fetched: Any, max_records: int | None = None) -> list[Any]:
    """Return the next fetched records of a partition: at most `max_records`, or `CHUNK_BYTES`.

    Replaces aiokafka's `getall`, which counts only records: a fetch of a topic that compresses well
    unpacks to many times its size, for each partition (E-039). The rest stays compressed.
    """
    if not fetched.check_assignment(fetched._topic_partition) or not fetched.has_more():  # noqa: SLF001
        return []
    records: list[Any] = []
    bytes_left = CHUNK_BYTES
    for record in fetched._partition_records:  # noqa: SLF001
        records.append(record)
        bytes_left -= len(record.value or b"")
        if bytes_left <= 0 or len(records) == max_records:
            fetched._update_position()  # noqa: SLF001
            return records
    fetched._update_position()  # noqa: SLF001
    fetched._partition_records = None  # noqa: SLF001
    return records


def configure_consumer(consumer: Any, *, max_wait_ms: int, min_bytes: int) -> None:
    """Set for a consumer that has not been started what Faust has no setting for.

    How long a fetch waits for how many bytes; that only committed records are read; and that a
    member which reads nothing for a while stays one. While there is no room for more records none
    are read, for as long as an outage lasts, and aiokafka would neither stay nor join again
    meanwhile; that a member is alive its heartbeat says. Faust has a setting of the last, but an
    environment variable would overrule it.
    """
    consumer._fetch_max_wait_ms = max_wait_ms  # noqa: SLF001
    consumer._fetch_min_bytes = min_bytes  # noqa: SLF001
    consumer._isolation_level = ISOLATION_LEVEL  # noqa: SLF001
    consumer._max_poll_interval_ms = MAX_POLL_INTERVAL_MS  # noqa: SLF001


class PartitionProgress(NamedTuple):
    """How far a consumer is in a partition.

    `position` is the offset of the next record; `end` is the offset up to which what is committed
    is known, or `UNKNOWN_END` before the broker's first answer; `reset` is, if there was one since
    the last time, the position that the broker no longer had, and the one that it has instead.
    """

    position: int
    end: int
    reset: tuple[int, int] | None


def take_progress(consumer: Any) -> dict[Any, PartitionProgress]:
    """Return how far a consumer is in each assigned partition that has a position."""
    subscription = consumer._subscription.subscription  # noqa: SLF001
    assignment = None if subscription is None else subscription.assignment
    if assignment is None:
        return {}
    progress = {}
    for place in assignment.tps:
        state = assignment.state_value(place)
        if state.has_valid_position:
            reset = vars(state).pop(_RESET, None)
            end = UNKNOWN_END if state.lso is None else state.lso
            progress[place] = PartitionProgress(state.position, end, reset)
    return progress


async def seek_to_committed(consumer: Any) -> dict[Any, int | None]:
    """Seek every partition to where its group is, and return the offsets that are committed.

    aiokafka leaves a partition of which nothing is committed where it is; it is read from its
    beginning again. Does not wait until the broker has said where that is. A rebalance may come
    while the broker is asked what is committed: then it is asked about the new assignment.
    """
    while assigned := consumer.assignment():
        # aiokafka raises one or the other: no such partition now, or none at all.
        with suppress(IllegalStateError, AssertionError):
            committed: dict[Any, int | None] = await consumer.seek_to_committed()
            if consumer.assignment() == assigned:
                _reread_uncommitted(consumer, committed)
                return committed
    return {}


def _reread_uncommitted(consumer: Any, committed: Mapping[Any, int | None]) -> None:
    """Let what nothing is committed of be read from its beginning."""
    if uncommitted := [place for place, offset in committed.items() if not offset]:
        fetcher, assignment = consumer._fetcher, consumer._subscription.subscription.assignment  # noqa: SLF001
        fetcher.request_offset_reset(uncommitted, OffsetResetStrategy.EARLIEST)
        for place in uncommitted:  # the broker has not lost what is read again
            vars(assignment.state_value(place)).pop(_ABANDONED, None)


def _with_abandoned_position(await_reset: Any) -> Any:
    """Return aiokafka's `await_reset` that leaves the position which is given up in the state."""

    @wraps(await_reset)
    def patched_await_reset(self: Any, strategy: int) -> None:
        if self.has_valid_position:
            setattr(self, _ABANDONED, self.position)
        await_reset(self, strategy)

    return patched_await_reset


def _with_reset(reset_to: Any) -> Any:
    """Return aiokafka's `reset_to` that leaves in the state what came of a position given up."""

    @wraps(reset_to)
    def patched_reset_to(self: Any, position: int) -> None:
        abandoned = vars(self).pop(_ABANDONED, None)
        if abandoned is not None:
            setattr(self, _RESET, (abandoned, position))
        reset_to(self, position)

    return patched_reset_to


def is_outside_group(consumer: Any) -> bool:
    """Tell whether the consumer is no member of its group though a broker coordinates it."""
    coordinator = consumer._coordinator  # noqa: SLF001
    if coordinator.coordinator_id is None:  # the broker is away
        return False
    subscription = consumer._subscription.subscription  # noqa: SLF001
    return (
        coordinator.generation <= 0
        or subscription is None
        or bool(coordinator.need_rejoin(subscription))
    )


def handle_group_error(consumer: Any) -> None:
    """Let aiokafka go on after an error of the consumer group. Raises `KafkaError` if it cannot.

    aiokafka stops all work for the group until somebody checks the error. Its own `getmany` does
    that, Faust does not: after an outage of the broker at a bad moment the worker would not be a
    member any more, and never notice. aiokafka does not recover at all from an error that ended the
    heartbeat or the refresh of committed offsets; joining the group again restarts both. Nothing
    restarts the task that fetches: without it the worker would be a member that reads nothing.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    if consumer._fetcher.error_future.done() and not consumer._closed:  # noqa: SLF001
        raise KafkaError("aiokafka has given up fetching: start the worker again")
    try:
        coordinator.check_errors()
    except KafkaError as error:
        if coordinator._coordination_task.done():  # noqa: SLF001 - it has given up
            raise
        log.warning("kafka_group_error", error=str(error))
        tasks = (coordinator._heartbeat_task, coordinator._commit_refresh_task)  # noqa: SLF001
        if any(task is not None and task.done() for task in tasks):
            coordinator.request_rejoin()


def partition_for(
    producer: Any, topic: str, partition: int | None, key: bytes | None, value: bytes | None
) -> int:
    """Return the partition of a record: `partition` if there is one, else by its key.

    The producer must know the partitions of the topic.
    """
    number: int = producer._partition(topic, partition, key, value, key, value)  # noqa: SLF001
    return number
