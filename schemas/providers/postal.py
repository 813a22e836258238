"""Postal: one event for each notification, about the delivery of a message to one address.

`MessageSent` means that the receiving server took the message. A message held is not going out: for
the suppression list's sake, or for the sender's. A late bounce comes without its report. Sources:
Postal's docs, "Webhooks" and "Webhook events & payloads", and the texts of its own source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from schemas.providers import UnreadableError
from schemas.providers._common import bare, epoch, ours_in, reply

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, Fields

PROVIDER: Final = "postal"
CHANNEL: Final[Channel] = "email"

KINDS: Final = {
    "MessageSent": "delivery",
    "MessageDelayed": "deferral",
    "MessageDeliveryFailed": "bounce",
    "MessageHeld": "failure",
    "MessageBounced": "bounce",
    "MessageLoaded": "open",
    "MessageLinkClicked": "click",
}
#: Events of the mail server, none of a message.
NOT_OURS: Final = frozenset({"DomainDNSError", "SendLimitApproaching", "SendLimitExceeded"})
INCOMING: Final = "incoming"
#: How Postal says that its suppression list speaks, and that the address wants no mail.
SUPPRESSED: Final = "is on the suppression list"
UNSUBSCRIBED: Final = "unsubscribe"
#: Failures before anything was sent, none about the address.
BEFORE_SENDING: Final = (
    "message is likely spam",
    "message's domain no longer exist",
    "message doesn't have an rcpt to",
    "raw message has been removed",
)
LABELS: Final[Mapping[str, BounceClass]] = {"HardFail": "hard", "SoftFail": "soft"}

Maybe = str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Message(TypedDict, total=False):
    id: Maybe
    direction: Maybe
    to: Maybe
    subject: Maybe
    tag: Maybe


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Payload(TypedDict, total=False):
    message: _Message | None
    original_message: _Message | None  # MessageBounced
    status: Maybe
    details: Maybe
    output: Maybe
    timestamp: float | None
    url: Maybe  # MessageLinkClicked
    ip_address: Maybe  # MessageLoaded, MessageLinkClicked
    user_agent: Maybe


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Event(TypedDict, total=False):
    event: str
    timestamp: float | None
    payload: _Payload
    uuid: Maybe


_event: Final = TypeAdapter(_Event).validator.validate_json


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields]:  # noqa: ARG001
    """Yield the event of one notification; see `schemas.providers.Adapter`."""
    event = _event(payload)
    word = event.get("event") or ""
    if word in NOT_OURS:
        return
    kind = KINDS.get(word)
    if kind is None:
        raise UnreadableError(
            f"Postal event {word[:60]!r} is not known" if word else "a Postal event names 'event'"
        )
    body = event.get("payload") or _Payload()
    message = body.get("original_message") or body.get("message")
    if message is None:
        raise UnreadableError(f"a Postal {word} event has to name its message")
    if message.get("direction") == INCOMING:
        return
    details = body.get("details") or ""
    kind = _refused(kind, details.lower())
    fields: Fields = {
        "kind": kind,
        "recipient": bare(message.get("to") or ""),
        "label": word,
        **_shared(event, body, message),
        **reply("\n".join(filter(None, ((body.get("output") or "").strip(), details)))),
    }
    status = body.get("status") or ""
    if status:
        fields["reason_code"] = status
    if kind == "bounce":
        fields["late"] = word == "MessageBounced"
    yield fields


def label_class(bounce: Mapping[str, object]) -> BounceClass | None:
    """Return what the provider's verdict means in our words; see `schemas.providers.Adapter`."""
    return LABELS.get(str(bounce.get("reason_code", "")))


def _refused(kind: str, details: str) -> str:
    """Return what a refusal is by its (lower-case) details; of other kinds, the kind itself."""
    if kind == "failure" and SUPPRESSED in details:
        return "skipped" if UNSUBSCRIBED in details.partition(SUPPRESSED)[2] else "invalid"
    if kind == "bounce" and details.startswith(BEFORE_SENDING):
        return "failure"
    return kind


def _shared(event: _Event, body: _Payload, message: _Message) -> Fields:
    """Return what every event says: whose message, its time, and who looked at it."""
    tag = message.get("tag")
    fields = ours_in(tag)
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
        fields["occurred_at"] = epoch(time)
    if url := body.get("url"):
        fields["url"] = url
    if address := body.get("ip_address"):
        fields["ip"] = address
    if agent := body.get("user_agent"):
        fields["user_agent"] = agent
    return fields
