"""Publishes records to Kafka with every acknowledgement awaited, and shows how far it is."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from processor.demo.render import TOPICS, Record
from schemas.errors import ExplainedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kafka.producer.future import FutureRecordMetadata
    from rich.console import Console

log = structlog.get_logger(__name__)

#: Records handed to the producer and not yet acknowledged, at most about.
IN_FLIGHT: Final = 100_000


#: Seconds between two lines of progress where there is no terminal.
LOG_EVERY: Final = 10.0


class FeedError(ExplainedError):
    """The feed cannot publish; the text says why and what to do."""


def publish(records: Iterable[Record], bootstrap: str, *, topics: Iterable[str] = TOPICS) -> int:
    """Publish records, wait until all are acknowledged and return their number.

    Raises `FeedError` if the broker is away, a topic is missing or a record is refused.
    """
    producer = _producer(bootstrap)
    failures: list[Exception] = []
    pending: deque[FutureRecordMetadata] = deque()
    published = 0
    try:
        _check_topics(producer, bootstrap, topics)
        for topic, key, value, headers, timestamp_ms in records:
            future = producer.send(
                topic, value, key, headers=list(headers), timestamp_ms=timestamp_ms
            )
            future.add_errback(failures.append)
            published += 1
            if published % 1000 == 0:  # one in a thousand stands for those before it
                pending.append(future)
                if len(pending) > IN_FLIGHT // 1000:
                    pending.popleft().get()
            if failures:
                raise failures[0]
        producer.flush()
        if failures:
            raise failures[0]
    except KafkaError as error:
        raise FeedError(f"after {published} records, Kafka at {bootstrap}: {error!r}") from error
    finally:
        with suppress(KafkaError):  # a broker that is away cannot be told goodbye
            producer.close(timeout=5)
    return published


def _producer(bootstrap: str) -> KafkaProducer:
    try:
        return KafkaProducer(
            bootstrap_servers=bootstrap.split(","),
            client_id="sendlog-demo",
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=20,
            batch_size=262_144,
            bootstrap_timeout_ms=10_000,
            max_block_ms=10_000,
            allow_auto_create_topics=False,
        )
    except KafkaError as error:
        raise FeedError(
            f"no Kafka at {bootstrap}: start it (`sendlog up`), or set SENDLOG_KAFKA__BOOTSTRAP"
        ) from error


def _check_topics(producer: KafkaProducer, bootstrap: str, topics: Iterable[str]) -> None:
    """Raise `FeedError` for a topic that does not exist."""
    for topic in topics:
        try:
            found = producer.partitions_for(topic)
        except KafkaError:
            found = None
        if not found:
            raise FeedError(
                f"Kafka at {bootstrap} has no topic {topic}: run `sendlog topics apply`"
            )


def watched(records: Iterable[Record], console: Console) -> Iterator[Record]:
    """Yield the records, showing their number and rate on a terminal, else logging them."""
    started = time.monotonic()
    count = 0
    if not console.is_terminal:
        due = started + LOG_EVERY
        for count, record in enumerate(records, 1):
            yield record
            if count % 64 == 0 and (now := time.monotonic()) >= due:
                log.info("demo feed", records=count, per_second=round(count / (now - started)))
                due = now + LOG_EVERY
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
