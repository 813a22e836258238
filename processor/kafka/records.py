"""What a fetch brings: Kafka records, and the chunk of them that is one Faust event."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import Final, NamedTuple, Protocol

from schemas.events import MAX_EVENT_TIME, MIN_EVENT_TIME, milliseconds

#: A replayed record keeps the time at which it first arrived, for events that carry none.
RECORDED_AT_HEADER: Final = "sendlog-recorded-at"
_MIN_MS: Final = milliseconds(MIN_EVENT_TIME)
_MAX_MS: Final = milliseconds(MAX_EVENT_TIME)
_MAX_TIME_DIGITS: Final = len(str(_MAX_MS))


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
    def timestamp_type(self) -> int | None:
        """Whose time that is: 0 is the publisher's, 1 the broker's."""
        ...

    @property
    def key(self) -> bytes | None:
        """Its key."""
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
    """Records of one partition, in order; at least one. `lag` is how many records follow them.

    `is_repeated`: another worker may have taken some of them before, and its inserts may come yet.
    """

    topic: str
    partition: int
    records: Sequence[Record]
    lag: int = 0
    is_repeated: bool = False


def recorded_ms(record: Record) -> int:
    """Return when a record first arrived, in milliseconds since 1970; from 1990 to 2099.

    Brokers take any timestamp: none, 0, seconds, microseconds. One outside of these years has no
    meaning, and is never read in another unit: the worker's own time stands in for it.
    """
    return plausible_ms(stated_ms(record))


def stated_ms(record: Record) -> int | None:
    """Return when a record first arrived by what it says itself, which may be no time."""
    for name, value in record.headers or ():
        if (
            name == RECORDED_AT_HEADER
            and value
            and value.isdigit()
            and len(value) <= _MAX_TIME_DIGITS
        ):
            return int(value)
    return record.timestamp


def is_plausible(timestamp: int | None) -> bool:
    """Return whether a timestamp is one in milliseconds, from 1990 to 2099."""
    return timestamp is not None and _MIN_MS <= timestamp < _MAX_MS


def plausible_ms(timestamp: int | None) -> int:
    """Return a timestamp in milliseconds, or the current time for one outside of 1990 to 2099."""
    if timestamp is not None and is_plausible(timestamp):
        return timestamp
    return int(time() * 1000)


def text_headers(record: Record) -> dict[str, str]:
    """Return a record's headers as text, by lower-case name; of several, the last."""
    return {
        name.lower(): str(value or b"", "utf-8", "replace") for name, value in record.headers or ()
    }
