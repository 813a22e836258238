"""Twilio: status callbacks (a form) and Event Streams (CloudEvents), one event for each status.

The error code decides what a failure is. A number that was reached by WhatsApp or RCS is a number
like any other; the label names the channel. A callback carries neither a time nor an id of its
own (`RawDlrDoneDate` has no zone), so its content identifies it. The mailer's metadata comes back
as the query of the callback's address, in the record header `x-callback-query`, or in Event Streams
as tags of the message. Sources: Twilio's docs, "Track the message status of outbound messages",
"Event types list" (Messaging) and "Error and warning dictionary".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from typing_extensions import TypedDict

from schemas.providers._common import (
    callback_metadata,
    channel_address,
    channel_label,
    echoed_metadata,
    explained_kind,
    form_fields,
    part_count,
    read_elements,
    validator,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "twilio"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="`tags`, query", recipient="nearly always", batches=True)

STATUS_KINDS: Final = {
    "accepted": "queued",
    "scheduled": "queued",
    "queued": "queued",
    "sending": "queued",
    "sent": "sent",
    "delivered": "delivery",
    "partially_delivered": "unknown",
    "read": "read",
    "undelivered": "undelivered",
    "failed": "failed",
    "canceled": "failed",
}
#: Incoming messages, and events about the test of a sink or about a registration.
IGNORED_STATUSES: Final = frozenset({"receiving", "received"})
IGNORED_TYPES: Final = (
    "com.twilio.messaging.inbound-message.",
    "com.twilio.messaging.compliance.",
)
#: Prefixes of the event types of all products, and of messages; a sink may have events of others.
PRODUCT_PREFIX: Final = "com.twilio."
MESSAGING_PREFIX: Final = "com.twilio.messaging."

#: Codes that say more than a word of failure; for all others, as 30008 "unknown", the word counts.
ERROR_KINDS: Final = {
    code: kind
    for kind, codes in {
        "opt_out": ["21610", "63014"],
        "undelivered": [
            "21211", "21217", "21265", "21268",           # number invalid, short code, service
            "21614", "21635",                             # not a mobile, landline
            "30003", "30005", "30006", "30011",           # unreachable, unknown, landline, no MMS
        ],
        "rejected": [
            "30004", "30007", "30038", "30450", "30453",  # blocked, filtered
            "30022", "30023", "30027",                    # carrier's rate or daily limit
            "30024", "30032", "30033", "30034", "30035",  # sender not registered with the carrier
            "30040", "30041", "30042",
        ],
        "expired": ["30036"],
        "failed": [
            "21408", "21612", "21617",                    # region, sender or length not permitted
            "30001", "30002", "30010", "30012", "30013",  # queue, account, price, validity period
            "30017", "30019", "30020", "30021",           # congestion, size, internal
            "30037", "30410", "30454", "30500",           # disabled, time-out, limit, internal
        ],
    }.items()
    for code in codes
}  # fmt: skip
NO_ERROR_CODES: Final = frozenset({"", "0"})
FORM_FIELDS: Final = frozenset(
    {"MessageSid", "SmsSid", "MessageStatus", "SmsStatus", "To", "ErrorCode", "ErrorMessage"}
)


class _Data(TypedDict, total=False):
    """The part of an Event Streams event that is about the message."""

    messageSid: str
    messageStatus: str | None
    to: str | None
    errorCode: int | str | None
    errorMessage: str | None
    timestamp: str | None
    numberOfSegments: int | str | None
    tags: dict[str, object] | None


class _CloudEvent(TypedDict, total=False):
    id: str
    type: str
    data: _Data


_read_cloud_event: Final = validator(_CloudEvent)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one callback or batch; see `schemas.providers.Adapter`."""
    metadata = callback_metadata(headers)
    if payload.lstrip()[:1] not in (b"{", b"["):
        body = form_fields(payload.decode("utf-8", "replace"), FORM_FIELDS)
        return _callback_events(body, metadata)
    return read_elements(
        payload, lambda element: _stream_events(_read_cloud_event(element), metadata)
    )


class _Status(NamedTuple):
    """What a callback and an event of Event Streams have in common."""

    sid: str | None
    word: str | None
    to: str | None
    error: str | None
    text: str | None


def _callback_events(body: Mapping[str, str], metadata: EventFields) -> Iterator[EventFields]:
    get = body.get
    status = _Status(
        sid=get("MessageSid") or get("SmsSid"),
        word=get("MessageStatus") or get("SmsStatus"),
        to=get("To"),
        error=get("ErrorCode"),
        text=get("ErrorMessage"),
    )
    yield from _status_events(status, metadata)


def _stream_events(event: _CloudEvent, metadata: EventFields) -> Iterator[EventFields]:
    event_type = event.get("type", "")
    if event_type.startswith(IGNORED_TYPES):
        return
    if event_type.startswith(PRODUCT_PREFIX) and not event_type.startswith(MESSAGING_PREFIX):
        return
    data = event.get("data", {})
    error = data.get("errorCode")
    status = _Status(
        sid=data.get("messageSid"),
        word=data.get("messageStatus") or event_type.rpartition(".")[2],
        to=data.get("to"),
        error=None if error is None else str(error),
        text=data.get("errorMessage"),
    )
    fields: EventFields = {**metadata, **echoed_metadata(data.get("tags"))}
    if event_id := event.get("id"):
        fields["provider_event_id"] = event_id
    if timestamp := data.get("timestamp"):
        fields["occurred_at"] = iso_time(timestamp)
    fields |= part_count(data.get("numberOfSegments"))
    yield from _status_events(status, fields)


def _status_events(status: _Status, fields: EventFields) -> Iterator[EventFields]:
    """Yield the one event of a status, with `fields`; none for an incoming message."""
    if not status.sid or not status.word:
        raise UnreadableError("a Twilio status names MessageSid (or SmsSid) and MessageStatus")
    word = status.word.lower()
    if word in IGNORED_STATUSES:
        return
    code = "" if status.error is None or status.error in NO_ERROR_CODES else status.error
    kind = explained_kind(STATUS_KINDS.get(word), code, ERROR_KINDS)
    if kind is None:
        raise UnreadableError(f"Twilio message status {word[:60]!r} is not known")
    to = channel_address(status.to or "")
    event: EventFields = {
        **fields,
        "kind": kind,
        "recipient": _with_plus(to.address),
        "provider_message_id": status.sid,
        "label": channel_label(word, to.channel),
    }
    if code:
        event["reason_code"] = code
    if status.text:
        event["diagnostic"] = status.text
    yield event


def _with_plus(number: str) -> str:
    """Return a number with the + that a form loses if a sender leaves it unescaped."""
    return "+" + number[1:] if number.startswith(" ") and number[1:].isdecimal() else number
