"""What a fetch brings: Kafka records, and the chunk of them that is one Faust event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

#: A replayed record keeps the time at which it first arrived, for events that carry none.
RECORDED_AT_HEADER: Final = "sendlog-recorded-at"
_MAX_TIME_DIGITS: Final = 13  # of a time in milliseconds, until the year 2286


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
    """Records of one partition, in order; at least one. `lag` is how many records follow them."""

    topic: str
    partition: int
    records: Sequence[Record]
    lag: int = 0


def recorded_ms(record: Record) -> int:
    """Return when a record first arrived, in milliseconds since 1970."""
    if not record.headers:
        return record.timestamp or 0
    for name, value in record.headers:
        if (
            name == RECORDED_AT_HEADER
            and value
            and value.isdigit()
            and len(value) <= _MAX_TIME_DIGITS
        ):
            return int(value)
    return record.timestamp or 0


def text_headers(record: Record) -> dict[str, str]:
    """Return a record's headers as text, by lower-case name; of several, the last."""
    return {
        name.lower(): str(value or b"", "utf-8", "replace") for name, value in record.headers or ()
    }
