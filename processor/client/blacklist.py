"""A copy of the blacklist: the last record of each key of its topic.

It answers nothing before it has all that the topic had when it was opened.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from kafka import KafkaConsumer

from schemas.addresses import Address, NumberRegions, normalise_address
from schemas.decisions import Suppression
from schemas.errors import ExplainedError
from schemas.events import Channel

READ_TIMEOUT_MS: Final = 200


class BlacklistNotReadError(ExplainedError):
    """The copy is not complete yet: nothing may be sent before it is."""


class Blacklist:
    """Who may not be written to. One thread may read the topic while others ask."""

    def __init__(self, regions: NumberRegions | None = None) -> None:
        """Take the countries of numbers that name none."""
        self._regions = regions or NumberRegions()
        #: Entries as they were published, by the keys of their addresses.
        self._entries: dict[str, bytes] = {}
        self._is_ready = threading.Event()

    @property
    def is_ready(self) -> bool:
        """Whether the copy has been complete once; from then on it follows."""
        return self._is_ready.is_set()

    def set_ready(self) -> None:
        """Let it answer: it is complete."""
        self._is_ready.set()

    def wait_until_ready(self, timeout_seconds: float | None = None) -> bool:
        """Wait until another thread has read all, and return whether it has."""
        return self._is_ready.wait(timeout_seconds)

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Apply a record: an entry, or a tombstone."""
        if value is None:
            self._entries.pop(key.decode(), None)
        else:
            self._entries[key.decode()] = value

    def is_blacklisted(self, tenant: str, channel: Channel, address: str) -> bool:
        """Tell whether nothing may be sent to an address, however it is written.

        Raises `BlacklistNotReadError`.
        """
        return self._key(tenant, channel, address) in self._ready_entries()

    def entry(self, tenant: str, channel: Channel, address: str) -> Suppression | None:
        """Return why nothing may be sent to an address; None if it may.

        Raises `BlacklistNotReadError`, and `ValidationError` for an entry that nobody can read.
        """
        value = self._ready_entries().get(self._key(tenant, channel, address))
        return None if value is None else Suppression.model_validate_json(value)

    def __len__(self) -> int:
        return len(self._entries)

    def _ready_entries(self) -> dict[str, bytes]:
        if not self.is_ready:
            raise BlacklistNotReadError(
                f"the blacklist is not read yet ({len(self):,} entries so far): send nothing, "
                "and ask again once it is"
            )
        return self._entries

    def _key(self, tenant: str, channel: Channel, address: str) -> str:
        region = self._regions.of(tenant)
        return Address(tenant, channel, normalise_address(channel, address, region)).key


class BlacklistReader:
    """Keeps a blacklist up to date from Kafka."""

    def __init__(self, blacklist: Blacklist, consumer: KafkaConsumer) -> None:
        """Take a consumer that is at the beginning of all partitions of the topic."""
        self._blacklist, self._consumer = blacklist, consumer
        self._ends: dict[Any, int] = consumer.end_offsets(consumer.assignment())

    def poll(self, timeout_ms: int = READ_TIMEOUT_MS) -> None:
        """Apply what has come; return at the latest when the time is over."""
        self._settle()
        for records in self._consumer.poll(timeout_ms=timeout_ms).values():
            for record in records:
                if record.key is not None:  # of none of our making
                    self._blacklist.apply(record.key, record.value)
        self._settle()

    def _settle(self) -> None:
        is_read = all(self._consumer.position(place) >= end for place, end in self._ends.items())
        if not self._blacklist.is_ready and is_read:
            self._blacklist.set_ready()
