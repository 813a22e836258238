"""The watermark: up to which moment the log has, and the policy was fed, all that Kafka had then.

Time passes for the policy only up to it. Otherwise a retry that fell due while no worker ran would
be requested before the delivery was read that lay in Kafka all the while, and a retry to an address
before its hard bounce. The watermark reaches a moment once the group has committed every record
that was there: first of intake's topics, then of what intake fed the policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from time import monotonic
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from processor.kafka.connection import async_options, started
from processor.kafka.consumers import async_consumer
from processor.logging import get
from processor.settings import KafkaSettings
from schemas.events import EPOCH

log = get(__name__)

EndOffsets: TypeAlias = Mapping[Any, int]
#: The broker is asked no more often, however many callers there are: as often as workers commit.
MIN_POLL_INTERVAL_SECONDS: Final = 0.5
_NO_OFFSET: Final = -1


class Watermark:
    """Asks the broker when it is refreshed, and at no other time."""

    def __init__(
        self,
        kafka: KafkaSettings,
        inputs: Mapping[str, int],
        policy_feed: Mapping[str, int],
        clock: Callable[[], datetime],
    ) -> None:
        """Take topics, each with its number of partitions: what intake reads, and what it feeds."""
        self._kafka = kafka
        self._inputs, self._policy_feed = inputs, policy_feed
        self._clock = clock
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._lock = asyncio.Lock()
        self._polled_at = 0.0
        #: The moment that the watermark is to reach, and the offsets that have to be committed.
        self._moment = EPOCH
        self._input_ends: EndOffsets | None = None
        self._policy_ends: EndOffsets | None = None
        #: All that Kafka had by then is in the log, and known to the policy.
        self.value = EPOCH

    async def refresh(self) -> datetime:
        """Ask how far the group is; return `value`. While the broker is away it stays as it is."""
        try:
            async with self._lock:
                await self._poll()
        except KafkaError as error:  # that the broker is away, somebody else says
            log.debug("progress_unknown", error=str(error))
        return self.value

    async def _poll(self) -> None:
        if monotonic() < self._polled_at + MIN_POLL_INTERVAL_SECONDS:
            return
        self._polled_at = monotonic()
        if self._input_ends is None:
            self._moment = self._clock()
            self._input_ends, self._policy_ends = await self._end_offsets(self._inputs), None
        if self._policy_ends is None:
            if not await self._has_committed(self._input_ends):
                return
            self._policy_ends = await self._end_offsets(self._policy_feed)
        if await self._has_committed(self._policy_ends):
            self.value, self._input_ends = self._moment, None

    async def _end_offsets(self, topics: Mapping[str, int]) -> EndOffsets:
        consumer = await self._started_consumer()
        places = [
            TopicPartition(topic, number) for topic, count in topics.items()
            for number in range(count)
        ]  # fmt: skip
        ends: dict[Any, int] = await consumer.end_offsets(places)
        starts = await consumer.beginning_offsets(places)
        # What was deleted unread, or never was there, nobody can commit.
        return {place: end for place, end in ends.items() if end > starts[place]}

    async def _has_committed(self, ends: EndOffsets) -> bool:
        if not ends:
            return True
        if self._admin is None:
            admin = AIOKafkaAdminClient(**async_options(self._kafka))
            await admin.start()
            self._admin = admin
        offsets = await self._admin.list_consumer_group_offsets(self._kafka.group)
        committed = {place: meta.offset for place, meta in offsets.items()}
        return all(committed.get(place, _NO_OFFSET) >= end for place, end in ends.items())

    async def _started_consumer(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = await started(async_consumer(self._kafka))
        return self._consumer
