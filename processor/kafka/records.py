"""What a fetch brings: Kafka records, and the chunk of them that is one Faust event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Record(Protocol):
    """What is used of a Kafka client's record; `timestamp` is in milliseconds since 1970."""

    @property
    def offset(self) -> int:
        """Its place in its partition."""
        ...

    @property
    def timestamp(self) -> int | None:
        """When it was published."""
        ...

    @property
    def value(self) -> bytes | None:
        """Its bytes."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Its headers, in order."""
        ...


class Chunk(NamedTuple):
    """Records of one partition, in order; at least one. `left` are those in Kafka behind them."""

    topic: str
    partition: int
    records: Sequence[Record]
    left: int = 0
