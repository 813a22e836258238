"""AWS: events of End User Messaging SMS, and delivery logs of SMS sent through SNS.

Either comes alone, in an SNS envelope, in an EventBridge event (which may be in an SNS envelope
itself), as records of a CloudWatch log group, or as records of a Firehose stream. Depending on the
country, SUCCESSFUL and DELIVERED stand for one another: the description says whether the phone or
only the carrier accepted the message. The mailer's metadata comes back in `context`; a delivery log
has none.
Sources: AWS End User Messaging SMS User Guide, "Event types", "Example event data", "RCS message
events" and "Monitoring with EventBridge", API reference, `EventType`; Amazon SNS Developer Guide,
"Viewing CloudWatch metrics and logs for SMS"; Amazon Data Firehose Developer Guide, "HTTP endpoint
delivery request and response specifications".
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Final
from zlib import decompressobj
from zlib import error as ZlibError  # noqa: N812 - it is an exception

from pydantic import ValidationError
from pydantic_core import to_json
from typing_extensions import TypedDict

from schemas.providers._common import (
    SNS_ADMINISTRATION,
    callback_metadata,
    echoed_metadata,
    part_count,
    reader,
    validator,
)
from schemas.providers._rejections import RejectedPart, UnreadableError, explain_validation
from schemas.providers._tells import Tells
from schemas.providers._times import epoch_time, utc_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.events import Channel, EventFields

PROVIDER: Final = "aws_sms"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="`context`, query", batches=True)

STATUS_KINDS: Final = {
    "QUEUED": "queued",
    "PENDING": "sent",
    "SENT": "sent",
    "SUCCESSFUL": "delivery",
    "DELIVERED": "delivery",
    "INVALID": "undelivered",
    "UNREACHABLE": "undelivered",
    "CARRIER_UNREACHABLE": "undelivered",
    "BLOCKED": "rejected",
    "CARRIER_BLOCKED": "rejected",
    "SPAM": "rejected",
    "TTL_EXPIRED": "expired",
    "OPTED_OUT": "opt_out",
    "INVALID_MESSAGE": "failed",
    "PROTECT_BLOCKED": "failed",
    "FILE_INACCESSIBLE": "failed",
    "FILE_TYPE_UNSUPPORTED": "failed",
    "FILE_SIZE_EXCEEDED": "failed",
    "UNKNOWN": "unknown",
    # RCS
    "READ": "read",
    "FAILED": "failed",
    "FALLEN_BACK_TO_SMS": "note",
}
#: What a status shows that AWS calls not final, by its kind; any other decides nothing.
PRELIMINARY_KINDS: Final = {
    "queued": "queued", "sent": "sent", "delivery": "sent", "read": "read", "note": "note",
}  # fmt: skip
#: The kind of a failure in a delivery log, by its provider response.
RESPONSE_KINDS: Final = {
    "phone number is opted out": "opt_out",
    "invalid phone number": "undelivered",
    "phone is currently unreachable/unavailable": "undelivered",
    "phone carrier is currently unreachable/unavailable": "undelivered",
    "blocked as spam by phone carrier": "rejected",
    "destination is on a blocked list": "rejected",
    # As AWS worded both until it renamed its lists: replayed logs have it.
    "destination is blacklisted": "rejected",
    "phone is blacklisted": "rejected",
    "phone carrier has blocked this message": "rejected",
    "phone has blocked sms": "rejected",
    "phone is on a blocked list": "rejected",
    "message body is invalid": "failed",
    "this delivery would exceed max price": "failed",
    "unknown error attempting to reach phone": "failed",
}
#: Whether the phone accepted the message, or only the carrier; by description, else by status.
HANDSET_CONFIRMATIONS: Final = {
    "message has been accepted by phone": True,
    "message has been accepted by phone carrier": False,
    "DELIVERED": True,
    "SUCCESSFUL": False,
}
RESULT_KINDS: Final = {"SUCCESS": "delivery", "FAILURE": "failed"}
#: Prefix of event types of calls; those of text and media messages have others.
CALL_PREFIX: Final = "VOICE_"
#: Prefix of EventBridge's names for events about a sender's registration.
REGISTRATION_PREFIX: Final = "Registration "
#: What CloudWatch Logs sends to a new stream, to see whether it takes anything.
CONTROL_MESSAGE: Final = "CONTROL_MESSAGE"
GZIP_MAGIC: Final = b"\x1f\x8b"
GZIP_WBITS: Final = 31
MAX_DECOMPRESSED_BYTES: Final = 8 << 20


class _Notification(TypedDict, total=False):
    messageId: str | None
    timestamp: str | None


class _Delivery(TypedDict, total=False):
    destination: str | None
    providerResponse: str | None
    numberOfMessageParts: int | None


class _Event(TypedDict, total=False):
    """An End User Messaging event, an SNS delivery log, or an incoming message."""

    eventType: str | None
    eventTimestamp: int | None
    destinationPhoneNumber: str | None
    messageId: str | None
    messageStatus: str | None
    messageStatusDescription: str | None
    context: dict[str, object] | None
    totalMessageParts: int | None
    notification: _Notification
    delivery: _Delivery
    status: str | None
    isFinal: bool | None
    messageBody: str | None


class _Record(TypedDict):
    """A record of a CloudWatch log group."""

    message: str


class _Streamed(TypedDict):
    """A record of a Firehose stream."""

    data: str


_Bridged = TypedDict("_Bridged", {"detail-type": str}, total=False)


class _Push(_Event, _Bridged, total=False):
    """A payload: the event itself, an SNS envelope, an EventBridge event, or records."""

    Type: str
    MessageId: str
    Message: str
    id: str
    detail: _Event
    logEvents: list[object]
    messageType: str | None
    records: list[object]


_read_push: Final = reader(_Push)
_read_record: Final = validator(_Record)
_read_streamed: Final = validator(_Streamed)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one push; see `schemas.providers.Adapter`."""
    push: _Push = _read_push(payload)
    shared = callback_metadata(headers)
    event_id = headers.get("x-amz-sns-message-id", "")
    if "logEvents" in push:
        yield from _record_events("logEvents", push["logEvents"], _log_record_payload, shared)
        return
    if "records" in push:
        yield from _record_events("records", push["records"], _stream_record_payload, shared)
        return
    if (message := push.get("Message")) is not None:
        if push.get("Type") in SNS_ADMINISTRATION:
            return
        event_id = push.get("MessageId") or event_id
        push = _read_push(message)
    yield from _push_events(push, event_id, shared)


def _record_events(
    member: str, records: list[object], unpack: Callable[[object], bytes], shared: EventFields
) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of records, each of which holds one event as a text."""
    for index, record in enumerate(records):
        # A rejected record has to be decodable alone: as the event it holds, if it holds one.
        raw = to_json({member: [record]})
        try:
            raw = unpack(record)
            push = _read_push(raw)
            if push.get("messageType") == CONTROL_MESSAGE:
                continue
            if "logEvents" in push:
                logs = push["logEvents"]
                yield from _record_events("logEvents", logs, _log_record_payload, shared)
            else:
                yield from _push_events(push, "", shared)
        except UnreadableError as error:
            yield RejectedPart(reason=str(error), raw=raw, element=index)
        except ValidationError as error:
            yield RejectedPart(reason=explain_validation(error), raw=raw, element=index)


def _log_record_payload(record: object) -> bytes:
    text: str = _read_record(record)["message"]
    return text.encode()


def _stream_record_payload(record: object) -> bytes:
    try:
        data = b64decode(_read_streamed(record)["data"], validate=True)
    except ValueError:
        raise UnreadableError("a Firehose record's 'data' is not base64") from None
    return _decompressed(data) if data.startswith(GZIP_MAGIC) else data


def _decompressed(data: bytes) -> bytes:
    """Return what CloudWatch compressed, within bounds."""
    unpacker = decompressobj(wbits=GZIP_WBITS)
    try:
        text = unpacker.decompress(data, MAX_DECOMPRESSED_BYTES)
    except ZlibError:
        raise UnreadableError("a Firehose record's 'data' is not the gzip it begins as") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise UnreadableError(f"a Firehose record takes up to {MAX_DECOMPRESSED_BYTES} bytes")
    return text


def _push_events(push: _Push, event_id: str, shared: EventFields) -> Iterator[EventFields]:
    """Yield the one event of an event itself or of EventBridge's envelope of it."""
    event: _Event = push
    if "detail" in push:
        if push.get("detail-type", "").startswith(REGISTRATION_PREFIX):
            return
        event = push["detail"]
        event_id = push.get("id") or event_id
    fields = {**shared, "provider_event_id": event_id} if event_id else shared
    yield from _message_events(event, fields)


def _message_events(event: _Event, shared: EventFields) -> Iterator[EventFields]:
    """Yield the one event; none for calls and incoming messages."""
    if "eventType" in event:
        if not (event.get("eventType") or "").startswith(CALL_PREFIX):
            yield {**shared, **_text_event(event)}
    elif "delivery" in event:
        yield {**shared, **_delivery_log(event)}
    elif "messageBody" not in event:
        raise UnreadableError("an AWS SMS event has to name its eventType, or hold 'delivery'")


def _text_event(event: _Event) -> EventFields:
    """Return the fields of an End User Messaging event."""
    word = (event.get("messageStatus") or (event.get("eventType") or "").partition("_")[2]).upper()
    if word not in STATUS_KINDS:
        raise UnreadableError(f"AWS SMS message status {word[:60]!r} is not known")
    text = event.get("messageStatusDescription") or ""
    kind = STATUS_KINDS[word]
    if text and kind not in ("delivery", "queued", "sent"):
        kind = _opted_out(text) or kind
    if event.get("isFinal") is False:
        kind = PRELIMINARY_KINDS.get(kind, "unknown")
    fields: EventFields = {
        **echoed_metadata(event.get("context")),
        **part_count(event.get("totalMessageParts")),
        **_outcome(kind, word, text),
        "recipient": event.get("destinationPhoneNumber") or "",
        "provider_message_id": event.get("messageId") or "",
    }
    if timestamp := event.get("eventTimestamp"):
        fields["occurred_at"] = epoch_time(timestamp)
    return fields


def _delivery_log(event: _Event) -> EventFields:
    """Return the fields of an SNS delivery log."""
    notification, delivery = event.get("notification") or {}, event.get("delivery") or {}
    word = event.get("status") or ""
    if word not in RESULT_KINDS:
        raise UnreadableError(f"AWS SNS delivery status {word[:60]!r} is not known")
    text = delivery.get("providerResponse") or ""
    kind = RESULT_KINDS[word]
    if kind == "failed":
        kind = RESPONSE_KINDS.get(text.lower()) or kind
    fields: EventFields = {
        **part_count(delivery.get("numberOfMessageParts")),
        **_outcome(kind, word, text),
        "recipient": delivery.get("destination") or "",
        "provider_message_id": notification.get("messageId") or "",
    }
    if timestamp := notification.get("timestamp"):
        fields["occurred_at"] = utc_time(timestamp)
    return fields


def _outcome(kind: str, word: str, text: str) -> EventFields:
    """Return the kind of an event, with its word, text and whether the handset confirmed."""
    fields: EventFields = {"kind": kind, "reason_code": word, "label": word}
    if text:
        fields["diagnostic"] = text
    if kind == "delivery":
        handset = HANDSET_CONFIRMATIONS.get(text.lower(), HANDSET_CONFIRMATIONS.get(word))
        if handset is not None:
            fields["handset"] = handset
    return fields


def _opted_out(text: str) -> str | None:
    """Return `opt_out` if a description says so, for no status does."""
    kind = RESPONSE_KINDS.get(text.lower())
    return kind if kind == "opt_out" else None
