"""Hands webhooks to Kafka and waits until the broker has them; comes back by itself after outages.

With an idempotent producer a batch that the broker refuses leaves a gap in its sequence, after
which it refuses all that follows. So any error but a mere delay ends the producer, and a new one
takes its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from processor.kafka import health
from processor.logging import get
from processor.settings import Kafka

log = get(__name__)

Headers = Sequence[tuple[str, bytes]]

#: Bytes that may wait for the broker: during an outage they are all that grows.
MOST_BYTES: Final = 64 * 1024 * 1024
_PAUSE: Final = 1.0  # seconds between two attempts to connect
_GRACE: Final = 5.0  # seconds to deliver what is under way when the gateway stops


class NotTakenError(RuntimeError):
    """Kafka does not have the record, as far as is known; the text says why."""


class Publisher:
    """Publishes to `topics`, which have to exist."""

    def __init__(self, kafka: Kafka, topics: Collection[str], *, timeout: float) -> None:
        self._kafka = kafka
        self._topics = frozenset(topics)
        self._timeout = timeout
        self._producer: Any = None
        self._lost = asyncio.Event()
        self._waiting = 0
        self._problem = "the broker is away"
        self._closing: set[asyncio.Task[None]] = set()

    async def problem(self) -> str:
        """Return why nothing can be published now, or ''."""
        if self._producer is None:
            return self._problem
        return "" if await health.answers(self._kafka.bootstrap) else "the broker is away"

    async def publish(self, topic: str, value: bytes, headers: Headers) -> None:
        """Publish a record and return when the broker has it. Raises `NotTakenError`."""
        producer = self._producer
        if producer is None:
            raise NotTakenError(self._problem)
        if self._waiting + len(value) > MOST_BYTES:
            raise NotTakenError("too much is waiting for the broker")
        self._waiting += len(value)
        try:
            async with asyncio.timeout(self._timeout):
                await producer.send_and_wait(topic, value, headers=list(headers))
        except TimeoutError:
            raise NotTakenError(f"the broker did not confirm within {self._timeout:g} s") from None
        except KafkaError as error:
            if producer is self._producer:
                log.warning("producer_lost", error=str(error) or type(error).__name__)
                self._producer = None
                self._lost.set()
            raise NotTakenError("the broker did not take the record") from error
        finally:
            self._waiting -= len(value)

    async def run(self) -> None:
        """Be connected until cancelled."""
        try:
            while True:
                self._lost.clear()
                self._producer = producer = await self._connected()
                log.info("gateway_connected", bootstrap=self._kafka.bootstrap)
                await self._lost.wait()
                # What is under way may still end well: no need to wait for it here.
                self._problem = "the broker is away"
                closing = asyncio.create_task(producer.stop())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        if self._producer is not None:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(self._producer.stop(), _GRACE)
        for task in self._closing:
            task.cancel()

    async def _connected(self) -> Any:
        """Return a producer that is connected, once all topics are there."""
        told = ""
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._kafka.bootstrap.split(","),
                client_id="sendlog-gateway",
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                max_batch_size=262_144,
                max_request_size=16 * 1024 * 1024,
            )
            try:
                await producer.start()
                present = (await producer.client.fetch_all_metadata()).topics()
                missing = sorted(self._topics - set(present))
                if not missing:
                    return producer
                self._problem = f"topic {missing[0]} is missing: run sendlog topics apply"
            except Exception as error:  # noqa: BLE001 - whatever it was, the next attempt may do
                self._problem = "the broker is away"
                log.debug("broker_away", error=str(error) or type(error).__name__)
            if self._problem != told:
                log.warning("gateway_waits", problem=self._problem)
                told = self._problem
            with suppress(KafkaError, OSError):
                await producer.stop()
            await asyncio.sleep(_PAUSE)
