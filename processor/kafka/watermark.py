"""Up to which moment the log knows, and the rules were fed, all that Kafka had then.

Time passes for the rules only up to it. Otherwise a retry that fell due while no worker ran would
be asked for before the delivery was read that lay in Kafka all the while, and a retry to an address
before its hard bounce. A moment has come once the group has committed every record that was there:
first of intake's topics, then of what intake fed the rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from processor.logging import get
from schemas.events import EPOCH

log = get(__name__)

Ends: TypeAlias = Mapping[Any, int]
_NONE: Final = -1
#: Seconds between two looks, however many ask: as often as workers commit.
_EVERY: Final = 0.5


class Progress:
    """Looks at the broker when it is asked to, and never else."""

    def __init__(
        self, bootstrap: str, group: str, inputs: Mapping[str, int], fed: Mapping[str, int],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        """Watch topics, given with their numbers of partitions: `inputs`, and what is `fed`."""
        self._bootstrap = bootstrap.split(",")
        self._group = group
        self._inputs, self._feeds = inputs, fed
        self._clock = clock
        self._reader: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._looking = asyncio.Lock()
        self._looked_at = 0.0
        self._moment = EPOCH
        self._ends: Ends | None = None
        self._fed: Ends | None = None
        #: All that Kafka had by then is known.
        self.until = EPOCH

    async def look(self) -> datetime:
        """Look how far the group is; return `until`. While the broker is away it stays as it is."""
        try:
            async with self._looking:
                await self._look()
        except KafkaError as error:  # that the broker is away, somebody else says
            log.debug("progress_unknown", error=str(error))
        return self.until

    async def _look(self) -> None:
        if monotonic() < self._looked_at + _EVERY:
            return
        self._looked_at = monotonic()
        if self._ends is None:
            self._moment = self._clock()
            self._ends, self._fed = await self._ends_of(self._inputs), None
        if self._fed is None:
            if not await self._committed(self._ends):
                return
            self._fed = await self._ends_of(self._feeds)
        if await self._committed(self._fed):
            self.until, self._ends = self._moment, None

    async def _ends_of(self, topics: Mapping[str, int]) -> Ends:
        reader = await self._started()
        places = [
            TopicPartition(topic, number) for topic, count in topics.items()
            for number in range(count)
        ]  # fmt: skip
        ends: dict[Any, int] = await reader.end_offsets(places)
        starts = await reader.beginning_offsets(places)
        # What was deleted unread, or never was there, nobody can commit.
        return {place: end for place, end in ends.items() if end > starts[place]}

    async def _committed(self, ends: Ends) -> bool:
        if not ends:
            return True
        if self._admin is None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
            await admin.start()
            self._admin = admin
        offsets = await self._admin.list_consumer_group_offsets(self._group)
        committed = {place: each.offset for place, each in offsets.items()}
        return all(committed.get(place, _NONE) >= end for place, end in ends.items())

    async def _started(self) -> AIOKafkaConsumer:
        if self._reader is None:
            reader = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
            await reader.start()
            self._reader = reader
        return self._reader
