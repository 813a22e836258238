"""AWS: events of End User Messaging SMS, and delivery logs of SMS sent through SNS.

Either comes as it is, in an SNS envelope, in an EventBridge event (which may be in an SNS envelope
itself), as records of a CloudWatch log group, or as records of a Firehose stream. Depending on the
country, SUCCESSFUL and DELIVERED stand for one another: the description says whether the phone or
only the carrier took the message. The mailer's ids come back in `context`; a delivery log has none.
Sources: AWS End User Messaging SMS User Guide, "Event types", "Example event data", "RCS message
events" and "Monitoring with EventBridge", API reference, `EventType`; Amazon SNS Developer Guide,
"Viewing CloudWatch metrics and logs for SMS"; Amazon Data Firehose Developer Guide, "HTTP endpoint
delivery request and response specifications".
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from typing_extensions import TypedDict

from schemas.providers import Rejected, UnreadableError, explain_validation
from schemas.providers._common import called_back, epoch, ours, parts, reader, utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.events import Channel, Fields

PROVIDER: Final = "aws_sms"
CHANNEL: Final[Channel] = "sms"

STATUSES: Final = {
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
#: What a delivery log answers where it is not simply a success.
RESPONSES: Final = {
    "phone number is opted out": "opt_out",
    "invalid phone number": "undelivered",
    "phone is currently unreachable/unavailable": "undelivered",
    "phone carrier is currently unreachable/unavailable": "undelivered",
    "blocked as spam by phone carrier": "rejected",
    "destination is on a blocked list": "rejected",
    "phone carrier has blocked this message": "rejected",
    "phone has blocked sms": "rejected",
    "phone is on a blocked list": "rejected",
    "message body is invalid": "failed",
    "this delivery would exceed max price": "failed",
    "unknown error attempting to reach phone": "failed",
}
#: Who took the message: the phone, or only the carrier.
HANDSETS: Final = {
    "message has been accepted by phone": True,
    "message has been accepted by phone carrier": False,
    "DELIVERED": True,
    "SUCCESSFUL": False,
}
RESULTS: Final = {"SUCCESS": "delivery", "FAILURE": "failed"}
#: Event types of text and media messages begin so; VOICE_ are calls.
CALLS: Final = "VOICE_"
#: How EventBridge names what is about a sender's registration.
REGISTRATION: Final = "Registration "
SNS_ADMINISTRATION: Final = frozenset({"SubscriptionConfirmation", "UnsubscribeConfirmation"})


class _Notification(TypedDict, total=False):
    messageId: str | None
    timestamp: str | None


class _Delivery(TypedDict, total=False):
    destination: str | None
    providerResponse: str | None
    numberOfMessageParts: int | None


class _Event(TypedDict, total=False):
    """An End User Messaging event, an SNS delivery log, or a message that came in."""

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
    messageBody: str | None


class _Record(TypedDict):
    """A record of a CloudWatch log group."""

    message: str


class _Streamed(TypedDict):
    """A record of a Firehose stream."""

    data: str


_Bridged = TypedDict("_Bridged", {"detail-type": str}, total=False)


class _Push(_Event, _Bridged, total=False):
    """What arrives: the event itself, an SNS envelope, an EventBridge event, or records."""

    Type: str
    MessageId: str
    Message: str
    id: str
    detail: _Event
    logEvents: list[object]
    records: list[object]


_push: Final = reader(_Push)
_record: Final = TypeAdapter(_Record).validator.validate_python
_streamed: Final = TypeAdapter(_Streamed).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:
    """Yield the events of one push; see `schemas.providers.Adapter`."""
    push: _Push = _push(payload)
    shared = called_back(headers)
    event_id = headers.get("x-amz-sns-message-id", "")
    if "logEvents" in push:
        yield from _records("logEvents", push["logEvents"], _logged, shared)
        return
    if "records" in push:
        yield from _records("records", push["records"], _unpacked, shared)
        return
    if (message := push.get("Message")) is not None:
        if push.get("Type") in SNS_ADMINISTRATION:
            return
        event_id = push.get("MessageId") or event_id
        push = _push(message)
    yield from _one(push, event_id, shared)


def _records(
    member: str, records: list[object], unpack: Callable[[object], bytes], shared: Fields
) -> Iterator[Fields | Rejected]:
    """Yield the events of records, each of which holds one as a text."""
    for place, record in enumerate(records):
        # A rejected record has to be decodable alone: the event it holds, if it holds one.
        raw = to_json({member: [record]})
        try:
            raw = unpack(record)
            yield from _one(_push(raw), "", shared)
        except UnreadableError as problem:
            yield Rejected(reason=str(problem), raw=raw, element=place)
        except ValidationError as problem:
            yield Rejected(reason=explain_validation(problem), raw=raw, element=place)


def _logged(record: object) -> bytes:
    text: str = _record(record)["message"]
    return text.encode()


def _unpacked(record: object) -> bytes:
    try:
        return b64decode(_streamed(record)["data"], validate=True)
    except ValueError:
        raise UnreadableError("a Firehose record's 'data' is not base64") from None


def _one(push: _Push, event_id: str, shared: Fields) -> Iterator[Fields]:
    """Yield the one event of what is the event itself or EventBridge's envelope of it."""
    event: _Event = push
    if "detail" in push:
        if push.get("detail-type", "").startswith(REGISTRATION):
            return
        event = push["detail"]
        event_id = push.get("id") or event_id
    own = {**shared, "provider_event_id": event_id} if event_id else shared
    yield from _read(event, own)


def _read(event: _Event, shared: Fields) -> Iterator[Fields]:
    """Yield the one event there is, or none if it is about no message of ours."""
    if "eventType" in event:
        if not (event.get("eventType") or "").startswith(CALLS):
            yield {**shared, **_text_event(event)}
    elif "delivery" in event:
        yield {**shared, **_delivery_log(event)}
    elif "messageBody" not in event:
        raise UnreadableError("an AWS SMS event has to name its eventType, or hold 'delivery'")


def _text_event(event: _Event) -> Fields:
    """Return what an End User Messaging event says."""
    word = (event.get("messageStatus") or (event.get("eventType") or "").partition("_")[2]).upper()
    if word not in STATUSES:
        raise UnreadableError(f"AWS SMS message status {word[:60]!r} is not known")
    text = event.get("messageStatusDescription") or ""
    kind = STATUSES[word]
    if text and kind not in ("delivery", "queued", "sent"):
        kind = _opted_out(text) or kind
    fields: Fields = {
        **ours(event.get("context")),
        **parts(event.get("totalMessageParts")),
        **_outcome(kind, word, text),
        "recipient": event.get("destinationPhoneNumber") or "",
        "provider_message_id": event.get("messageId") or "",
    }
    if timestamp := event.get("eventTimestamp"):
        fields["occurred_at"] = epoch(timestamp)
    return fields


def _delivery_log(event: _Event) -> Fields:
    """Return what an SNS delivery log says."""
    notification, delivery = event.get("notification") or {}, event.get("delivery") or {}
    word = event.get("status") or ""
    if word not in RESULTS:
        raise UnreadableError(f"AWS SNS delivery status {word[:60]!r} is not known")
    text = delivery.get("providerResponse") or ""
    kind = RESULTS[word]
    if kind == "failed":
        kind = RESPONSES.get(text.lower()) or kind
    fields: Fields = {
        **parts(delivery.get("numberOfMessageParts")),
        **_outcome(kind, word, text),
        "recipient": delivery.get("destination") or "",
        "provider_message_id": notification.get("messageId") or "",
    }
    if timestamp := notification.get("timestamp"):
        fields["occurred_at"] = utc(timestamp)
    return fields


def _outcome(kind: str, word: str, text: str) -> Fields:
    """Return the kind of an event with what it rests on."""
    fields: Fields = {"kind": kind, "reason_code": word, "label": word}
    if text:
        fields["diagnostic"] = text
    if kind == "delivery":
        handset = HANDSETS.get(text.lower(), HANDSETS.get(word))
        if handset is not None:
            fields["handset"] = handset
    return fields


def _opted_out(text: str) -> str | None:
    """Return `opt_out` if a description says so: there is no status of its own for it."""
    kind = RESPONSES.get(text.lower())
    return kind if kind == "opt_out" else None
