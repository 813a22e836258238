"""The events of a mailer: checked before they leave, and as records of their topics."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from pydantic import ConfigDict, model_validator

from processor.client.connection import topic_of
from processor.kafka.topics import MAILER_CHANNELS
from schemas.addresses import Address, normalise_address
from schemas.decisions import ResendRequested, RetryRequested
from schemas.events import (
    COMPUTED_FIELDS,
    DECISION_KINDS,
    KINDS_BY_CHANNEL,
    Identifier,
    MessageEvent,
    Recipient,
)

_TOPICS: Final = {channel: topic for topic, channel in MAILER_CHANNELS.items()}
#: The reason codes of notes that say something to Sendlog.
RESEND_REFUSED: Final = "resend_refused"


class MailerEvent(MessageEvent):
    """An event as a mailer publishes it: whatever intake would refuse or ignore is an error here.

    Decisions are Sendlog's own, and so are the fields that it computes.
    """

    model_config = ConfigDict(extra="forbid")

    message_id: Identifier
    recipient: Recipient

    @model_validator(mode="after")
    def _check_mailers(self) -> Self:
        if self.kind not in KINDS_BY_CHANNEL[self.channel] - DECISION_KINDS:
            raise ValueError(f"{self.kind!r} is no kind of a mailer's {self.channel} event")
        if computed := sorted(COMPUTED_FIELDS & self.model_fields_set):
            raise ValueError(f"{', '.join(computed)}: computed by Sendlog; leave it out")
        return self


class MailerRecord(NamedTuple):
    """A record of a mailer."""

    topic: str
    key: bytes
    value: bytes


def mailer_record(event: MailerEvent, mailer: str = "") -> MailerRecord:
    """Return an event as a record; its key is the address: those of one keep their order.

    It is for the shared topic, or for that of a `mailer` who has its own.
    """
    recipient = normalise_address(event.channel, event.recipient)
    key = Address(event.tenant_id, event.channel, recipient).key
    value = event.model_dump_json(exclude_unset=True)
    topic = topic_of(_TOPICS[event.channel], mailer)
    return MailerRecord(topic, key.encode(), value.encode())


def mailer_event(
    kind: str, address: Address, message_id: str, at: datetime, **fields: Any
) -> MailerEvent:
    """Return an event of any kind; `fields` are others of `MessageEvent`.

    Raises pydantic's `ValidationError`, also for a field that does not exist.
    """
    return MailerEvent.model_validate(
        {
            "channel": address.channel, "kind": kind, "tenant_id": address.tenant_id,
            "message_id": message_id, "recipient": address.address, "occurred_at": at, **fields,
        }
    )  # fmt: skip


def sent(address: Address, message_id: str, at: datetime, **fields: Any) -> MailerEvent:
    """Return that a message was handed over: `attempt`, `subject`, `record_id`, … are fields."""
    return mailer_event("sent", address, message_id, at, **fields)


def not_sent(
    address: Address, message_id: str, at: datetime, *, why: str, **fields: Any
) -> MailerEvent:
    """Return that a message was not sent, on purpose."""
    return mailer_event("skipped", address, message_id, at, diagnostic=why, **fields)


def provider_id_note(
    address: Address, message_id: str, at: datetime, *, provider: str, provider_message_id: str,
    attempt: int = 1,
) -> MailerEvent:  # fmt: skip
    """Return which id the provider gave an attempt: by it the provider's events find the message.

    For providers that echo no id of yours; a `sent` that has the two fields says the same.
    """
    return mailer_event(
        "note", address, message_id, at, provider=provider,
        provider_message_id=provider_message_id, attempt=attempt,
    )  # fmt: skip


def attempt_sent(request: RetryRequested, at: datetime, **fields: Any) -> MailerEvent:
    """Return the answer to a request: that its attempt was handed over."""
    return sent(address_of(request), request.message_id, at, attempt=request.attempt, **fields)


def resend_refused(request: ResendRequested, at: datetime, *, why: str) -> MailerEvent:
    """Return the answer to a person whose request is not obeyed; staff read why."""
    return mailer_event(
        "note", address_of(request), request.message_id, at, attempt=request.attempt,
        reason_code=RESEND_REFUSED, diagnostic=why,
    )  # fmt: skip


def address_of(request: RetryRequested) -> Address:
    """Return the address that a request is about."""
    return Address(request.tenant_id, request.channel, request.recipient)
