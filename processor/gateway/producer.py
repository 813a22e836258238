"""The gateway's producer: waits until the broker has a webhook, and reconnects after outages.

When the broker refuses a batch of an idempotent producer, that leaves a gap in the sequence, and
all later batches are refused, too. So any error except a timeout ends the producer, and a new one
replaces it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from processor.kafka import health
from processor.kafka.connection import async_options
from processor.kafka.producer import COMPRESSION, MAX_BATCH_BYTES, MAX_REQUEST_BYTES, RecordHeaders
from processor.logging import get
from processor.settings import KafkaSettings

log = get(__name__)

#: Bytes that may wait for the broker: during an outage nothing else grows.
MAX_WAITING_WEBHOOK_BYTES: Final = 64 * 1024 * 1024
RECONNECT_INTERVAL_SECONDS: Final = 1.0
#: To deliver pending records when the gateway stops.
STOP_TIMEOUT_SECONDS: Final = 5.0


class NotPublishedError(RuntimeError):
    """Kafka did not confirm the record; the text says why."""


class WebhookProducer:
    """Publishes to `topics`, which must exist. Records wait at most `timeout` seconds."""

    def __init__(self, kafka: KafkaSettings, topics: Collection[str], *, timeout: float) -> None:
        self._kafka = kafka
        self._topics = frozenset(topics)
        self._timeout = timeout
        self._producer: Any = None
        self._lost = asyncio.Event()
        self._waiting_bytes = 0
        self._problem = health.AWAY
        self._closing_tasks: set[asyncio.Task[None]] = set()

    async def problem(self) -> str:
        """Return why nothing can be published now, or an empty text."""
        if self._producer is None:
            return self._problem
        # Who asks is anybody: why it is away is for the log.
        return health.AWAY if await health.broker_problem(self._kafka) else ""

    async def publish(self, topic: str, value: bytes, headers: RecordHeaders) -> None:
        """Publish a record and return when the broker has it. Raises `NotPublishedError`."""
        producer = self._producer
        if producer is None:
            raise NotPublishedError(self._problem)
        if self._waiting_bytes + len(value) > MAX_WAITING_WEBHOOK_BYTES:
            raise NotPublishedError("too much is waiting for the broker")
        self._waiting_bytes += len(value)
        try:
            async with asyncio.timeout(self._timeout):
                await producer.send_and_wait(topic, value, headers=list(headers))
        except TimeoutError:
            raise NotPublishedError(
                f"the broker did not confirm within {self._timeout:g} s"
            ) from None
        except KafkaError as error:
            if producer is self._producer:
                log.warning("producer_lost", error=str(error))
                self._producer = None
                self._lost.set()
            raise NotPublishedError("the broker did not take the record") from error
        finally:
            self._waiting_bytes -= len(value)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        try:
            while True:
                self._lost.clear()
                self._producer = producer = await self._connect()
                log.info("gateway_connected", bootstrap=self._kafka.bootstrap)
                await self._lost.wait()
                self._problem = health.AWAY
                # Pending records may still be delivered, but nothing here needs to wait for that.
                closing = asyncio.create_task(producer.stop())
                self._closing_tasks.add(closing)
                closing.add_done_callback(self._closing_tasks.discard)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        if self._producer is not None:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(self._producer.stop(), STOP_TIMEOUT_SECONDS)
        for task in self._closing_tasks:
            task.cancel()

    async def _connect(self) -> Any:
        """Return a connected producer, once all topics exist."""
        logged_problem = ""
        while True:
            producer = AIOKafkaProducer(
                **async_options(self._kafka),
                client_id="sendlog-gateway",
                acks="all",
                enable_idempotence=True,
                compression_type=COMPRESSION,
                max_batch_size=MAX_BATCH_BYTES,
                max_request_size=MAX_REQUEST_BYTES,
            )
            try:
                await producer.start()
                existing = (await producer.client.fetch_all_metadata()).topics()
                missing = sorted(self._topics - set(existing))
                if not missing:
                    return producer
                self._problem = f"topic {missing[0]} is missing: run sendlog topics apply"
            except Exception as error:  # noqa: BLE001 - whatever it was, the next attempt may succeed
                self._problem = health.AWAY
                log.debug("broker_away", error=str(error) or type(error).__name__)
            if self._problem != logged_problem:
                log.warning("gateway_waits", problem=self._problem)
                logged_problem = self._problem
            with suppress(KafkaError, OSError):
                await producer.stop()
            await asyncio.sleep(RECONNECT_INTERVAL_SECONDS)
