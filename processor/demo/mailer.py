"""A reference mailer: what a mailer has to do about retries and the blacklist, and no more.

It keeps a copy of the blacklist, sends nothing to an address on it, makes each retry it is asked
for once, and reports it as a fact with its attempt. The provider's answers are pretended.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from zlib import crc32

from processor.kafka.topics import FACTS
from schemas.addresses import Address
from schemas.decisions import RetryRequested, Suppression

#: Of this channel messages are retried.
CHANNEL: Final = "email"
_TOPICS: Final = {channel: topic for topic, channel in FACTS.items()}
#: How a mailbox is named that never has room.
FULL: Final = "full."
_LATER: Final = timedelta(milliseconds=1)


class Post(NamedTuple):
    """A record to publish."""

    topic: str
    key: bytes
    value: bytes


class Mailer:
    """What a mailer remembers: who is blacklisted, and which retries it has made."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._blacklist: dict[str, Suppression] = {}
        self._obeyed: set[str] = set()

    def hear(self, key: bytes, value: bytes | None) -> None:
        """Take in a record of `delivery.suppressions`: an entry, or that there is none now."""
        if value is None:
            self._blacklist.pop(key.decode(), None)
        else:
            self._blacklist[key.decode()] = Suppression.model_validate_json(value)

    def may_send(self, whose: Address) -> bool:
        """Tell whether an address is not on the blacklist."""
        return whose.key not in self._blacklist

    def obey(self, value: bytes, now: datetime) -> list[Post]:
        """Make the retry that a record of `delivery.retries` asks for; return what to report.

        That is nothing if it was made before, is of another tenant, or the address is blacklisted.
        """
        asked = RetryRequested.model_validate_json(value)
        whose = Address(asked.tenant_id, asked.channel, asked.recipient)
        if asked.tenant_id != self._tenant or asked.id in self._obeyed or not self.may_send(whose):
            return []
        self._obeyed.add(asked.id)
        return attempted(whose, asked.message_id, asked.attempt, now)


def attempted(
    whose: Address, message_id: str, attempt: int, at: datetime, **fields: Any
) -> list[Post]:
    """Return the facts of an attempt: that it was sent, and what the provider says of it."""
    answer = (
        ("delivery", {})
        if has_room(whose.address, attempt)
        else ("bounce", {"bounce_class": "soft", "smtp_code": 452, "enhanced_status": "4.2.2",
                         "diagnostic": "mailbox full"})
    )  # fmt: skip
    return [
        fact("sent", whose, message_id, at, attempt=attempt, **fields),
        fact(answer[0], whose, message_id, at + _LATER, attempt=attempt, **answer[1]),
    ]


def has_room(address: str, attempt: int) -> bool:
    """Pretend a mailbox: all are full at first, most have room for the second attempt."""
    if address.startswith(FULL):
        return False
    return attempt > (2 if crc32(address.encode()) % 4 == 0 else 1)


def fact(kind: str, whose: Address, message_id: str, at: datetime, **fields: Any) -> Post:
    """Return a fact as mailers publish it."""
    value = {
        "channel": whose.channel, "kind": kind, "tenant_id": whose.tenant_id,
        "message_id": message_id, "recipient": whose.address, "occurred_at": at.isoformat(),
        **fields,
    }  # fmt: skip
    return Post(_TOPICS[whose.channel], whose.key.encode(), json.dumps(value).encode())
