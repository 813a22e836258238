"""Consumers that read a topic by themselves, in no group; and what every consumer reads."""

from __future__ import annotations

from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from kafka import KafkaConsumer

#: Records of a transaction that was aborted never happened, and those of an open one may not have:
#: no consumer reads either, and no end of a partition is behind them.
ISOLATION_LEVEL: Final = "read_committed"


def async_consumer(bootstrap: str, **options: Any) -> AIOKafkaConsumer:
    """Return an aiokafka consumer that commits nothing; it is not started."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        enable_auto_commit=False,
        isolation_level=ISOLATION_LEVEL,
        **options,
    )


def sync_consumer(bootstrap: str, **options: Any) -> KafkaConsumer:
    """Return a kafka-python consumer that commits nothing. Raises `KafkaError` without a broker."""
    return KafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        enable_auto_commit=False,
        isolation_level=ISOLATION_LEVEL,
        **options,
    )
