"""The worker's producer: publishes a batch of records and waits until the broker has all."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from processor import metrics
from processor.kafka.patches import partition_for
from processor.outages import Outage

if TYPE_CHECKING:
    import faust


#: Seconds until a batch without an answer is tried anew.
PUBLISH_TIMEOUT_SECONDS: Final = 60.0
#: Seconds after which it is logged that records wait to be published.
SLOW_PUBLISH_SECONDS: Final = 10.0
RETRY_INTERVAL_SECONDS: Final = 1.0

#: What a broker answers to a record that is larger than its topic takes.
TOO_LARGE_ERRORS: Final = (MessageSizeTooLargeError, RecordListTooLargeError)

#: Of topics that take no records: logged once as `topic_away` and once as `topic_back`.
_outage = Outage("topic", metrics.WAITING_FOR_KAFKA)


class OutgoingRecord(NamedTuple):
    """A record to publish; without a partition the key decides."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


#: Publishes records; returns when the broker has them.
Publish: TypeAlias = Callable[[Sequence[OutgoingRecord]], Awaitable[None]]


def is_publishing_delayed() -> bool:
    """Tell whether records wait to be published, for a topic takes none."""
    return _outage.is_on


async def publish_batch(app: faust.App, records: Sequence[OutgoingRecord]) -> None:
    """Publish records; return when the broker has them. Raises `KafkaError` if it refuses one.

    While the broker is away, or a topic, this waits, however long: it logs that once. What may not
    have arrived is published again then, so that the broker may have a record twice.

    The records of a partition travel in Kafka's own batches, which are filled here: a record sent
    alone has a future and a timer of its own, and costs more than twice as much (E-018).
    """
    producer = (await app.maybe_start_producer())._ensure_producer()  # noqa: SLF001 - aiokafka's
    for topic in {record.topic for record in records}:  # from here on the producer knows them
        await _retry_while_away(topic, partial(producer.partitions_for, topic))
    await asyncio.gather(
        *(
            _publish_to(producer, *place, batch)
            for place, batch in by_partition(producer, records).items()
        )
    )


def by_partition(
    producer: Any, records: Iterable[OutgoingRecord]
) -> dict[tuple[str, int], list[OutgoingRecord]]:
    """Return records by topic and partition; the producer has to know the topics."""
    places: defaultdict[tuple[str, int], list[OutgoingRecord]] = defaultdict(list)
    for record in records:
        number = partition_for(producer, record.topic, record.partition, record.key, record.value)
        places[record.topic, number].append(record)
    return places


async def _publish_to(
    producer: Any, topic: str, partition: int, records: Sequence[OutgoingRecord]
) -> None:
    """Publish records of one partition in their order."""
    unpublished = deque(records)
    await _retry_while_away(topic, partial(_publish_rest, producer, topic, partition, unpublished))


async def _publish_rest(
    producer: Any, topic: str, partition: int, records: deque[OutgoingRecord]
) -> None:
    """Publish records, and take those off that the broker has.

    Raises the first error, and leaves all records from there on: published again, the last of them
    is the last of the partition, as it has to be where only that counts.
    """
    counts, acks = [], []
    failure: BaseException | None = None
    try:
        for batch, count in filled_batches(producer, tuple(records)):
            acks.append(await producer.send_batch(batch, topic, partition=partition))
            counts.append(count)
    except KafkaError as error:  # of a batch before it, for which this one had to wait
        failure = error
    for count, outcome in zip(counts, await _outcomes(acks), strict=True):
        if isinstance(outcome, BaseException):
            raise outcome
        for _ in range(count):
            records.popleft()
    if failure is not None:
        raise failure


async def _outcomes(acks: Sequence[Awaitable[Any]]) -> Sequence[Any]:
    return await asyncio.gather(*acks, return_exceptions=True)


def filled_batches(producer: Any, records: Sequence[OutgoingRecord]) -> Iterator[tuple[Any, int]]:
    """Yield records as Kafka's batches, each with how many it has."""
    batch, count = producer.create_batch(), 0
    for _, key, value, headers, _ in records:
        # None: the batch is full. An empty one takes a record of any size.
        while batch.append(timestamp=None, key=key, value=value, headers=list(headers)) is None:
            yield batch, count
            batch, count = producer.create_batch(), 0
        count += 1
    yield batch, count


async def _retry_while_away(topic: str, work: Callable[[], Awaitable[Any]]) -> None:
    """Await `work` again and again while it fails for a reason that passes. Raises other errors."""
    waiter, loop = object(), asyncio.get_running_loop()
    begin = partial(_outage.begin, waiter, topic=topic)
    try:
        while True:
            slow = loop.call_later(SLOW_PUBLISH_SECONDS, partial(begin, error="no answer yet"))
            try:
                await work()
            except KafkaError as error:
                if not error.retriable and not isinstance(error, KafkaTimeoutError):
                    raise
                begin(error=str(error))
            else:
                return
            finally:
                slow.cancel()
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)
    finally:
        _outage.end(waiter)
