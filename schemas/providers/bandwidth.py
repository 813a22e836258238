"""Bandwidth: message callbacks (a JSON array), one event for each.

A group message has a callback for each recipient, with the number in `to`. The error code decides
of a failure; its first digits say whose it is. "Message delivered to carrier" is a media message
that nobody confirms. The sender's metadata comes back in `tag`. Sources: Bandwidth's docs,
"Messaging webhooks" and "Messaging errors".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from typing_extensions import TypedDict

from schemas.providers._common import (
    as_text,
    callback_metadata,
    channel_label,
    explained_kind,
    international_number,
    part_count,
    read_elements,
    reference_metadata,
    validator,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import reported_time, utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "bandwidth"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="`tag`, query", recipient="yes; of a group none", batches=True)

TYPE_KINDS: Final = {
    "message-sending": "queued",
    "message-sent": "sent",
    "message-delivered": "delivery",
    "message-read": "read",
    "message-failed": "failed",
}
#: What a recipient sends.
IGNORED_TYPES: Final = frozenset(
    {"message-received", "requested-location-response", "suggestion-response"}
)
#: A media message that was handed over, as its description says in lower case.
CARRIER_DELIVERY: Final = "message delivered to carrier"

#: Codes that say more than "failed"; 4001 to 4493 are Bandwidth's own refusals, 5xxx are failures.
ERROR_KINDS: Final = {
    code: kind
    for kind, codes in {
        "opt_out": ["4775"],
        "undelivered": [
            "4303", "4350", "4404", "4406", "4420", "4434",  # number malformed, not routable
            "4700", "4701", "4702", "4720", "4721", "4730",  # no service, unavailable, inactive
            "4753", "5106", "5650",                          # refused by the handset, no route
        ],
        "rejected": [
            "4470", "4481", "4482",                          # spam, number blocked by Bandwidth
            "4740", "4750", "4770", "4771", "4772", "4773",  # sender, spam, campaign; by carriers
            "4774", "4780", "4781", "4785", "4790", "4791",  # provisioning, volume, short code
            "4792", "4793", "4795",                          # short code, number not verified
        ],
        "expired": ["4360", "5201"],
        # No receipt came in time: whether the message did is not known.
        "unknown": ["9902"],
    }.items()
    for code in codes
}  # fmt: skip


class _Message(TypedDict, total=False):
    id: str | None
    direction: object
    to: object
    tag: object
    segmentCount: object
    channel: object


class _Callback(TypedDict, total=False):
    type: str | None
    time: object
    eventTime: object
    to: object
    description: object
    errorCode: object
    message: _Message | None


_read_callback: Final = validator(_Callback)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one batch; see `schemas.providers.Adapter`."""
    metadata = callback_metadata(headers)
    return read_elements(payload, lambda element: _callback_events(element, metadata))


def _callback_events(element: object, metadata: EventFields) -> Iterator[EventFields]:
    """Yield the event of one callback; none for what a recipient sends."""
    if isinstance(element, dict) and as_text(element.get("type")) in IGNORED_TYPES:
        return
    callback = _read_callback(element)
    word = callback.get("type") or ""
    message = callback.get("message") or _Message()
    if message.get("direction") == "in":
        return
    if word not in TYPE_KINDS:
        raise UnreadableError(f"Bandwidth callback type {word[:60]!r} is not known")
    if not (message_id := message.get("id")):
        raise UnreadableError("a Bandwidth callback names the id of its message")
    code, description = as_text(callback.get("errorCode")), as_text(callback.get("description"))
    event: EventFields = {
        **metadata,
        **reference_metadata(as_text(message.get("tag"))),
        **part_count(as_text(message.get("segmentCount"))),
        **reported_time(as_text(callback.get("eventTime") or callback.get("time")), utc_time),
        "kind": explained_kind(TYPE_KINDS[word], code, ERROR_KINDS),
        "recipient": international_number(_recipient(callback, message)),
        "provider_message_id": message_id,
        "label": channel_label(word, as_text(message.get("channel"))),
    }
    if code:
        event["reason_code"] = code
    if description:
        event["diagnostic"] = description
    if event["kind"] == "delivery" and description.lower() == CARRIER_DELIVERY:
        event["handset"] = False
    yield event


def _recipient(callback: _Callback, message: _Message) -> str:
    """Return the number that a callback is about; without one, that of the message if it is one."""
    number, numbers = as_text(callback.get("to")), message.get("to")
    if not number and isinstance(numbers, list) and len(numbers) == 1:
        return as_text(numbers[0])
    return number
