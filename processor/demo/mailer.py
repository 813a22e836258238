"""What the reference mailer sends, and what its providers answer: simulated, without Kafka.

What a mailer must do about retries and the blacklist is in `processor.client`, which it uses.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zlib import crc32

from processor.client.events import MailerEvent, address_of, mailer_event, sent
from schemas.addresses import Address
from schemas.decisions import RetryRequested

#: A mailbox whose address begins with this is always full.
FULL_MAILBOX_PREFIX: Final = "full."
_NEXT_MILLISECOND: Final = timedelta(milliseconds=1)


def make_attempt(request: RetryRequested) -> list[MailerEvent]:
    """Make the attempt that is requested, now, and return the events of it."""
    at = datetime.now(UTC)
    return attempt_events(address_of(request), request.message_id, request.attempt, at)


def attempt_events(
    address: Address, message_id: str, attempt: int, at: datetime, **fields: Any
) -> list[MailerEvent]:
    """Return the events of an attempt: that it was sent, and the provider's answer."""
    kind, details = (
        ("delivery", {})
        if address.channel == "sms" or has_room(address.address, attempt)
        else ("bounce", {"bounce_class": "soft", "smtp_code": 452, "enhanced_status": "4.2.2",
                         "diagnostic": "mailbox full"})
    )  # fmt: skip
    answered_at = at + _NEXT_MILLISECOND
    return [
        sent(address, message_id, at, attempt=attempt, **fields),
        mailer_event(kind, address, message_id, answered_at, attempt=attempt, **details),
    ]


def has_room(address: str, attempt: int) -> bool:
    """Simulate a mailbox: all are full at first, most have room at the second attempt."""
    if address.startswith(FULL_MAILBOX_PREFIX):
        return False
    return attempt > (2 if crc32(address.encode()) % 4 == 0 else 1)
