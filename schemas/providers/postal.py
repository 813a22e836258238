"""Postal: one event for each notification, about the delivery of a message to one address.

`MessageSent` means that the receiving server accepted the message. A held message is not sent,
because of the suppression list or of the sender. A late bounce comes without its report. Sources:
Postal's docs, "Webhooks" and "Webhook events & payloads", and the texts of its own source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import Ignored, parsed_metadata, reply_fields
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import epoch_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.bounces import LabelClass
    from schemas.events import Channel, EventFields

PROVIDER: Final = "postal"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`tag`", deferrals=True, opens="unmarked")

EVENT_KINDS: Final = {
    "MessageSent": "delivery",
    "MessageDelayed": "deferral",
    "MessageDeliveryFailed": "bounce",
    # Until an operator releases it, or the hold runs out; see `_refusal_kind`.
    "MessageHeld": "note",
    "MessageBounced": "bounce",
    "MessageLoaded": "open",
    "MessageLinkClicked": "click",
}
#: Events of the mail server, not about a message.
IGNORED_EVENTS: Final = frozenset({"DomainDNSError", "SendLimitApproaching", "SendLimitExceeded"})
IGNORED: Final = Ignored(("event",), IGNORED_EVENTS)
INCOMING_DIRECTION: Final = "incoming"
#: In the details: the address is on the suppression list, and why: it wants no mail.
SUPPRESSED_TEXT: Final = "is on the suppression list"
UNSUBSCRIBED_TEXT: Final = "unsubscribe"
#: Details of failures before sending, none about the address.
PRESEND_FAILURE_TEXTS: Final = (
    "message is likely spam",
    "message's domain no longer exist",
    "message doesn't have an rcpt to",
    "raw message has been removed",
)
#: `HardFail` stands for every 5yz, so it says that the refusal is for good, but not of what.
STATUS_CLASSES: Final[Mapping[str, LabelClass]] = {"HardFail": "refused", "SoftFail": "soft"}


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Message(TypedDict, total=False):
    id: str | None
    direction: str | None
    to: str | None
    subject: str | None
    tag: str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Payload(TypedDict, total=False):
    message: _Message | None
    original_message: _Message | None  # MessageBounced
    status: str | None
    details: str | None
    output: str | None
    timestamp: float | None
    url: str | None  # MessageLinkClicked
    ip_address: str | None  # MessageLoaded, MessageLinkClicked
    user_agent: str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Event(TypedDict, total=False):
    event: str
    timestamp: float | None
    payload: _Payload
    uuid: str | None


_read_event: Final = TypeAdapter(_Event).validator.validate_json


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:  # noqa: ARG001
    """Yield the event of one notification; see `schemas.providers.Adapter`."""
    event: _Event = _read_event(payload)
    word = event.get("event") or ""
    if word in IGNORED_EVENTS:
        return
    kind = EVENT_KINDS.get(word)
    if kind is None:
        raise UnreadableError(
            f"Postal event {word[:60]!r} is not known" if word else "a Postal event names 'event'"
        )
    body = event.get("payload") or _Payload()
    message = body.get("original_message") or body.get("message")
    if message is None:
        raise UnreadableError(f"a Postal {word} event has to name its message")
    if message.get("direction") == INCOMING_DIRECTION:
        return
    details = body.get("details") or ""
    kind = _refusal_kind(kind, details.lower())
    fields: EventFields = {
        "kind": kind,
        "recipient": bare_address(message.get("to") or ""),
        "label": word,
        **_shared_fields(event, body, message),
        **reply_fields("\n".join(filter(None, ((body.get("output") or "").strip(), details)))),
    }
    status = body.get("status") or ""
    if status:
        fields["reason_code"] = status
    if kind == "bounce":
        fields["late"] = word == "MessageBounced"
    yield fields


def label_class(bounce: Mapping[str, Any]) -> LabelClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return STATUS_CLASSES.get(bounce.get("reason_code", ""))


def _refusal_kind(kind: str, details: str) -> str:
    """Return the kind of a refusal by its lower-case details; any other kind unchanged."""
    if kind == "note" and SUPPRESSED_TEXT in details:
        return (
            "skipped" if UNSUBSCRIBED_TEXT in details.partition(SUPPRESSED_TEXT)[2] else "invalid"
        )
    if kind == "bounce" and details.startswith(PRESEND_FAILURE_TEXTS):
        return "failure"
    return kind


def _shared_fields(event: _Event, body: _Payload, message: _Message) -> EventFields:
    """Return the fields that events of all kinds have."""
    tag = message.get("tag")
    fields = parsed_metadata(tag)
    if tag and not fields:
        fields["tags"] = [tag[:256]]
    if message_id := message.get("id"):
        fields["provider_message_id"] = message_id
    if subject := message.get("subject"):
        fields["subject"] = subject
    if event_id := event.get("uuid"):
        fields["provider_event_id"] = event_id
    time = body.get("timestamp")
    if time is None:
        time = event.get("timestamp")
    if time is not None:
        fields["occurred_at"] = epoch_time(time)
    if url := body.get("url"):
        fields["url"] = url
    if address := body.get("ip_address"):
        fields["ip"] = address
    if agent := body.get("user_agent"):
        fields["user_agent"] = agent
    return fields
