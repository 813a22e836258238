"""Publishes records to Kafka, waits for each acknowledgement, and shows the progress."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from processor.demo.render import FEED_TOPICS, DemoRecord
from processor.kafka.connection import sync_options
from processor.kafka.producer import COMPRESSION, LINGER_MS, MAX_BATCH_BYTES
from processor.logging import get
from schemas.errors import ExplainedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kafka.producer.future import FutureRecordMetadata
    from rich.console import Console

    from processor.settings import KafkaSettings

log = get(__name__)

#: About the largest number of records that wait for their acknowledgement.
MAX_UNACKED_RECORDS: Final = 100_000
#: Every so many records one acknowledgement is awaited, which stands for those before it.
ACK_SAMPLE_RECORDS: Final = 1_000
#: Between two log lines of the progress where there is no terminal.
LOG_INTERVAL_SECONDS: Final = 10.0


class FeedError(ExplainedError):
    """The feed cannot publish; the text says why and what to do."""


def publish_records(
    records: Iterable[DemoRecord], kafka: KafkaSettings, *, topics: Iterable[str] = FEED_TOPICS
) -> int:
    """Publish records, wait until all are acknowledged, and return their number.

    Raises `FeedError` if the broker is away, a topic is missing or a record is refused.
    """
    producer = _producer(kafka)
    failures: list[Exception] = []
    pending: deque[FutureRecordMetadata] = deque()
    published = 0
    try:
        _check_topics(producer, kafka, topics)
        for topic, key, value, headers, timestamp_ms in records:
            future = producer.send(
                topic, value, key, headers=list(headers), timestamp_ms=timestamp_ms
            )
            future.add_errback(failures.append)
            published += 1
            if published % ACK_SAMPLE_RECORDS == 0:
                pending.append(future)
                if len(pending) > MAX_UNACKED_RECORDS // ACK_SAMPLE_RECORDS:
                    pending.popleft().get()
            if failures:
                raise failures[0]
        producer.flush()
        if failures:
            raise failures[0]
    except KafkaError as error:
        raise FeedError(
            f"after {published} records, Kafka at {kafka.bootstrap}: {error!r}"
        ) from error
    finally:
        with suppress(KafkaError):  # the broker may be away
            producer.close(timeout=5)
    return published


def _producer(kafka: KafkaSettings) -> KafkaProducer:
    try:
        return KafkaProducer(
            **sync_options(kafka),
            client_id="sendlog-demo",
            acks="all",
            enable_idempotence=True,
            compression_type=COMPRESSION,
            linger_ms=LINGER_MS,
            batch_size=MAX_BATCH_BYTES,
            bootstrap_timeout_ms=10_000,
            max_block_ms=10_000,
            allow_auto_create_topics=False,
        )
    except KafkaError as error:
        raise FeedError(
            f"no Kafka at {kafka.bootstrap}: start it (`sendlog up`), or set"
            " SENDLOG_KAFKA__BOOTSTRAP"
        ) from error


def _check_topics(producer: KafkaProducer, kafka: KafkaSettings, topics: Iterable[str]) -> None:
    """Raise `FeedError` for a topic that does not exist."""
    for topic in topics:
        try:
            partitions = producer.partitions_for(topic)
        except KafkaError:
            partitions = None
        if not partitions:
            raise FeedError(
                f"Kafka at {kafka.bootstrap} has no topic {topic}: run `sendlog topics apply`"
            )


def with_progress(records: Iterable[DemoRecord], console: Console) -> Iterator[DemoRecord]:
    """Yield the records; show their number and rate on a terminal, or else log them."""
    started = time.monotonic()
    count = 0
    if not console.is_terminal:
        due = started + LOG_INTERVAL_SECONDS
        for count, record in enumerate(records, 1):
            yield record
            if count % 64 == 0 and (now := time.monotonic()) >= due:
                log.info("demo feed", records=count, per_second=round(count / (now - started)))
                due = now + LOG_INTERVAL_SECONDS
        log.info("demo feed ended", records=count)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("demo feed")
        for count, record in enumerate(records, 1):
            yield record
            if count % 16 == 0:
                rate = count / (time.monotonic() - started)
                progress.update(task, description=f"{count:,} records, {rate:,.0f}/s")
        progress.update(task, description=f"{count:,} records")
