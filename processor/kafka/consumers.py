"""Consumers that read a topic by themselves, in no group; and what every consumer reads."""

from __future__ import annotations

from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from kafka import KafkaConsumer

from processor.kafka.connection import async_options, sync_options
from processor.settings import KafkaSettings

#: Records of a transaction that was aborted never happened, and those of an open one may not have:
#: no consumer reads either, and no end of a partition is behind them.
ISOLATION_LEVEL: Final = "read_committed"
#: Records that whoever reads a whole topic takes at once.
MAX_FETCH_RECORDS: Final = 20_000


def async_consumer(kafka: KafkaSettings, **options: Any) -> AIOKafkaConsumer:
    """Return an aiokafka consumer that commits nothing; it is not started."""
    return AIOKafkaConsumer(
        **async_options(kafka),
        enable_auto_commit=False,
        isolation_level=ISOLATION_LEVEL,
        **options,
    )


def sync_consumer(kafka: KafkaSettings, **options: Any) -> KafkaConsumer:
    """Return a kafka-python consumer that commits nothing.

    Raises `KafkaError` without a broker, and as `sync_options` does.
    """
    return KafkaConsumer(
        **sync_options(kafka),
        enable_auto_commit=False,
        isolation_level=ISOLATION_LEVEL,
        **options,
    )
