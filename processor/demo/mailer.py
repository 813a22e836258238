"""A reference mailer: what a mailer must do about retries and the blacklist, and nothing more.

It keeps a copy of the blacklist and sends nothing to an address on it. It makes each requested
attempt once, a rule's or a person's, and reports it with its number. The provider's answers are
simulated.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from zlib import crc32

from processor.kafka.topics import MAILER_CHANNELS
from schemas.addresses import Address
from schemas.decisions import RetryRequested, Suppression

_TOPICS: Final = {channel: topic for topic, channel in MAILER_CHANNELS.items()}
#: A mailbox whose address begins with this is always full.
FULL_MAILBOX_PREFIX: Final = "full."
_NEXT_MILLISECOND: Final = timedelta(milliseconds=1)


class MailerRecord(NamedTuple):
    """A record of the mailer."""

    topic: str
    key: bytes
    value: bytes


class Mailer:
    """The state of a mailer: the suppressed addresses, and the retries it has made."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._suppressions: dict[str, Suppression] = {}
        self._made_retries: set[str] = set()

    def apply_suppression(self, key: bytes, value: bytes | None) -> None:
        """Apply a record of `delivery.suppressions`: an entry, or a tombstone."""
        if value is None:
            self._suppressions.pop(key.decode(), None)
        else:
            self._suppressions[key.decode()] = Suppression.model_validate_json(value)

    def may_send(self, address: Address) -> bool:
        """Tell whether an address is not suppressed."""
        return address.key not in self._suppressions

    def make_retry(self, value: bytes, now: datetime) -> list[MailerRecord]:
        """Make the attempt that a record of `delivery.retries` requests; return the records of it.

        There are none if it was made before, or is of another tenant. To a suppressed address
        nothing is sent: a person who asked for it is answered why.
        """
        request = RetryRequested.model_validate_json(value)
        address = Address(request.tenant_id, request.channel, request.recipient)
        if request.tenant_id != self._tenant or request.id in self._made_retries:
            return []
        if not self.may_send(address):
            is_persons = json.loads(value).get("kind") == "resend"
            return [refusal_record(address, request, now)] if is_persons else []
        self._made_retries.add(request.id)
        return attempt_records(address, request.message_id, request.attempt, now)


def refusal_record(address: Address, request: RetryRequested, at: datetime) -> MailerRecord:
    """Return the answer to somebody who asked for what is not sent."""
    return event_record(
        "note", address, request.message_id, at, attempt=request.attempt,
        reason_code="resend_refused", diagnostic="not sent again: the address is blacklisted",
    )  # fmt: skip


def attempt_records(
    address: Address, message_id: str, attempt: int, at: datetime, **fields: Any
) -> list[MailerRecord]:
    """Return the events of an attempt: that it was sent, and the provider's answer."""
    kind, details = (
        ("delivery", {})
        if address.channel == "sms" or has_room(address.address, attempt)
        else ("bounce", {"bounce_class": "soft", "smtp_code": 452, "enhanced_status": "4.2.2",
                         "diagnostic": "mailbox full"})
    )  # fmt: skip
    answered_at = at + _NEXT_MILLISECOND
    return [
        event_record("sent", address, message_id, at, attempt=attempt, **fields),
        event_record(kind, address, message_id, answered_at, attempt=attempt, **details),
    ]


def has_room(address: str, attempt: int) -> bool:
    """Simulate a mailbox: all are full at first, most have room at the second attempt."""
    if address.startswith(FULL_MAILBOX_PREFIX):
        return False
    return attempt > (2 if crc32(address.encode()) % 4 == 0 else 1)


def event_record(
    kind: str, address: Address, message_id: str, at: datetime, **fields: Any
) -> MailerRecord:
    """Return an event as mailers publish it."""
    value = {
        "channel": address.channel, "kind": kind, "tenant_id": address.tenant_id,
        "message_id": message_id, "recipient": address.address, "occurred_at": at.isoformat(),
        **fields,
    }  # fmt: skip
    return MailerRecord(_TOPICS[address.channel], address.key.encode(), json.dumps(value).encode())
