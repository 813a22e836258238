"""Twilio: status callbacks (a form) and Event Streams (CloudEvents), one event for each status.

The error code decides before the status word. A callback carries neither a time nor an id of its
own (`RawDlrDoneDate` has no zone), so a repeated one is known by its content. The mailer's ids come
back as the query of the callback's address, in the record header `x-callback-query`, or as the tags
of the message, which Event Streams tells. Sources: Twilio's docs, "Track the message status of
outbound messages", "Event types list" (Messaging) and "Error and warning dictionary".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from schemas.providers import Rejected, UnreadableError, explain_validation
from schemas.providers._common import called_back, form, instant, ours, parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, Fields

PROVIDER: Final = "twilio"
CHANNEL: Final[Channel] = "sms"

STATUSES: Final = {
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
#: Messages that come in, and what Event Streams says to try a sink out, or of a registration.
NOT_OURS: Final = frozenset({"receiving", "received"})
NOT_OURS_TYPES: Final = (
    "com.twilio.messaging.inbound-message.",
    "com.twilio.messaging.compliance.",
)
#: Types of all products begin so, and those of messages; a sink may have events of others, too.
TWILIO: Final = "com.twilio."
MESSAGING: Final = "com.twilio.messaging."

#: Codes that say more than the status word; for all others, as 30008 "unknown", the word stands.
ERRORS: Final = {
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
NO_ERROR: Final = frozenset({"", "0"})
FORM: Final = frozenset(
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


_cloud_event: Final = TypeAdapter(_CloudEvent).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:
    """Yield the events of one callback or batch; see `schemas.providers.Adapter`."""
    own = called_back(headers)
    if payload.lstrip()[:1] not in (b"{", b"["):
        yield from _callback(form(payload.decode("utf-8", "replace"), FORM), own)
        return
    try:
        body: object = from_json(payload)
    except ValueError as error:
        raise UnreadableError(f"the body is not JSON: {error}") from None
    if isinstance(body, dict):
        yield from _streamed(_cloud_event(body), own)
        return
    for place, element in enumerate(body if isinstance(body, list) else ()):
        try:
            yield from _streamed(_cloud_event(element), own)
        except UnreadableError as error:
            yield Rejected(reason=str(error), raw=to_json(element), element=place)
        except ValidationError as error:
            reason = explain_validation(error)
            yield Rejected(reason=reason, raw=to_json(element), element=place)


class _Status(NamedTuple):
    """What both ways of telling a status have in common."""

    sid: str | None
    word: str | None
    to: str | None
    error: str | None
    text: str | None


def _callback(body: Mapping[str, str], own: Fields) -> Iterator[Fields]:
    get = body.get
    status = _Status(
        sid=get("MessageSid") or get("SmsSid"),
        word=get("MessageStatus") or get("SmsStatus"),
        to=get("To"),
        error=get("ErrorCode"),
        text=get("ErrorMessage"),
    )
    yield from _event(status, own)


def _streamed(event: _CloudEvent, own: Fields) -> Iterator[Fields]:
    kind = event.get("type", "")
    if kind.startswith(NOT_OURS_TYPES):
        return
    if kind.startswith(TWILIO) and not kind.startswith(MESSAGING):
        return
    data = event.get("data", {})
    error = data.get("errorCode")
    status = _Status(
        sid=data.get("messageSid"),
        word=data.get("messageStatus") or kind.rpartition(".")[2],
        to=data.get("to"),
        error=None if error is None else str(error),
        text=data.get("errorMessage"),
    )
    fields = {**own, **ours(data.get("tags"))}
    if event_id := event.get("id"):
        fields["provider_event_id"] = event_id
    if timestamp := data.get("timestamp"):
        fields["occurred_at"] = instant(timestamp)
    fields |= parts(data.get("numberOfSegments"))
    yield from _event(status, fields)


def _event(status: _Status, fields: Fields) -> Iterator[Fields]:
    """Yield the one event of a status, `fields` included, or none if it is no message of ours."""
    if not status.sid or not status.word:
        raise UnreadableError("a Twilio status names MessageSid (or SmsSid) and MessageStatus")
    word = status.word.lower()
    if word in NOT_OURS:
        return
    code = "" if status.error is None or status.error in NO_ERROR else status.error
    kind = ERRORS.get(code) or STATUSES.get(word)
    if kind is None:
        raise UnreadableError(f"Twilio message status {word[:60]!r} is not known")
    event: Fields = {
        **fields,
        "kind": kind,
        "recipient": _number(status.to or ""),
        "provider_message_id": status.sid,
        "label": word,
    }
    if code:
        event["reason_code"] = code
    if status.text:
        event["diagnostic"] = status.text
    yield event


def _number(to: str) -> str:
    """Return a number as given, with the + that a form loses where a sender left it unescaped."""
    return "+" + to[1:] if to.startswith(" ") and to[1:].isdecimal() else to
