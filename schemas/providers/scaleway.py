"""Scaleway Transactional Email: one event about one recipient, in an SNS envelope or alone.

A message for an address on Scaleway's blocklist is not sent; the list holds some addresses for a
time only. `email_spam` is a refusal, by Scaleway or the server, and no complaint. The sender's
metadata is in the mail's own headers, which come back. Sources: Scaleway's docs, "Understanding
webhook event payloads" and "Setting up and using TEM webhooks with Topics and Events".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import (
    SNS_ADMINISTRATION,
    Ignored,
    code_field,
    header_metadata,
    non_empty,
    reader,
    reply_fields,
    unknown_event,
)
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time, reported_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields

PROVIDER: Final = "scaleway"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`X-…` headers", deferrals=True)

EVENT_KINDS: Final = {
    "email_queued": "queued",
    "email_delivered": "delivery",
    "email_deferred": "deferral",
    "email_dropped": "bounce",
    "email_mailbox_not_found": "bounce",
    "email_spam": "bounce",
    "email_blocklisted": "failure",
}
#: The class of a label; `email_dropped` only says that the refusal is for good.
LABEL_CLASSES: Final[Mapping[str, BounceClass]] = {
    "email_dropped": "block",
    "email_mailbox_not_found": "hard",
    "email_spam": "block",
}
#: The kind of a blocklisted message by the list's type; of any other type the address may be good.
BLOCKLIST_KINDS: Final = {"mailbox_not_found": "invalid"}
#: An address was put on a list, which is about no message.
IGNORED_EVENTS: Final = frozenset({"blocklist_created"})
IGNORED: Final = Ignored(("type",), IGNORED_EVENTS)


class _Header(TypedDict, total=False):
    key: str
    value: str


class _Push(TypedDict, total=False):
    """An event, or an SNS envelope around it."""

    Type: str | None
    Message: str | None
    id: str | None
    type: str | None
    created_at: str | None
    email_id: str | None
    email_to: str | None
    email_headers: list[_Header] | None
    email_error: str | None  # an older name of the message
    email_response_code: int | str | None
    email_response_message: str | None
    blocklist_type: str | None
    blocklist_reason: str | None


_read_push: Final = reader(_Push)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the event of one push; see `schemas.providers.Adapter`."""
    del headers
    event: _Push = _read_push(payload)
    if (message := event.get("Message")) is not None:
        if event.get("Type") in SNS_ADMINISTRATION:
            return
        event = _read_push(message)
    word = event.get("type") or ""
    if word in IGNORED_EVENTS:
        return
    kind = EVENT_KINDS.get(word)
    if kind is None:
        raise unknown_event("Scaleway", word, "type")
    blocklist = event.get("blocklist_type") or ""
    mail = {
        header.get("key", "").lower(): header.get("value", "")
        for header in event.get("email_headers") or ()
    }
    fields: EventFields = {
        "provider_message_id": event.get("email_id") or "",
        "provider_event_id": event.get("id") or "",
        "subject": mail.get("subject", ""),
        "reason_code": blocklist,
    }
    text = event.get("email_response_message") or event.get("email_error")
    yield {
        "kind": BLOCKLIST_KINDS.get(blocklist, kind),
        "recipient": bare_address(event.get("email_to") or ""),
        "label": word,
        **header_metadata(mail),
        **non_empty(fields),
        **code_field(event.get("email_response_code")),
        **reply_fields(text or event.get("blocklist_reason")),
        **reported_time(event.get("created_at"), iso_time),
    }


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", ""))
