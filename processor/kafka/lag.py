"""How far a worker is behind in the partitions that it holds, for its metrics."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from time import monotonic, time
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Gauge

from processor import metrics
from processor.kafka.connection import started
from processor.kafka.consumers import async_consumer
from processor.logging import get
from processor.settings import KafkaSettings

log = get(__name__)

#: Between two questions for the ends of the partitions that are held: one request a broker.
LAG_INTERVAL_SECONDS: Final = 5.0
MAX_LAG_ANSWER_SECONDS: Final = 10.0


class Undone(NamedTuple):
    """Where a partition's first record is that is not done.

    `record_at` is that record's time, since 1970, and `read_at` when its chunk was read, of the
    monotonic clock; both are None while no record waits for its ack.
    """

    offset: int
    record_at: float | None = None
    read_at: float | None = None


class LagGauges:
    """Sets the gauges of lag, by topic, and takes those of topics away that are not held now."""

    def __init__(self) -> None:
        #: Since when a partition has lag of which nothing is read.
        self._unread_since: dict[Any, float] = {}
        self._topics: set[str] = set()

    def set(self, undone: Mapping[Any, Undone], ends: Mapping[Any, int]) -> None:
        """Take the first undone record of each partition that is held, and the partitions' ends."""
        records: defaultdict[str, int] = defaultdict(int)
        behind: defaultdict[str, float] = defaultdict(float)
        unacked: defaultdict[str, float] = defaultdict(float)
        held: defaultdict[str, int] = defaultdict(int)
        now = monotonic()
        unread_since = {}
        for place, first in undone.items():
            topic = place.topic
            held[topic] += 1
            lag = max(0, ends.get(place, first.offset) - first.offset)
            records[topic] += lag
            if first.read_at is not None:
                unacked[topic] = max(unacked[topic], now - first.read_at)
            if first.record_at is not None:
                behind[topic] = max(behind[topic], time() - first.record_at)
            elif lag:
                unread_since[place] = self._unread_since.get(place, now)
                behind[topic] = max(behind[topic], now - unread_since[place])
        self._unread_since = unread_since
        gauges: list[tuple[Gauge, Mapping[str, float]]] = [
            (metrics.LAG_RECORDS, records), (metrics.SECONDS_BEHIND, behind),
            (metrics.OLDEST_UNACKED_SECONDS, unacked), (metrics.PARTITIONS, held),
        ]  # fmt: skip
        for gauge, values in gauges:
            for topic in held:
                gauge.labels(topic=topic).set(values[topic])
            for topic in self._topics - held.keys():
                gauge.remove(topic)
        self._topics = set(held)


async def watch_lag(kafka: KafkaSettings, undone: Callable[[], Mapping[Any, Undone]]) -> None:
    """Set the gauges of lag every few seconds; never returns.

    While the broker is away, its last answer counts.
    """
    gauges, consumer = LagGauges(), None
    ends: dict[Any, int] = {}
    while True:
        try:
            async with asyncio.timeout(MAX_LAG_ANSWER_SECONDS):
                consumer = consumer or await started(async_consumer(kafka))
                places = [TopicPartition(place.topic, place.partition) for place in undone()]
                ends = await consumer.end_offsets(places) if places else {}
        except (KafkaError, OSError, TimeoutError) as error:  # others say that it is away
            log.debug("lag_unknown", error=str(error))
        gauges.set(undone(), ends)
        await asyncio.sleep(LAG_INTERVAL_SECONDS)
