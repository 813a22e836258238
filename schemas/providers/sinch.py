"""Sinch: SMS delivery reports (JSON) of one recipient, or of a batch for each recipient it lists.

The code decides before the status word: Sinch's own codes are 400 to 418, those below come from the
SMSC. A batch summary that only counts names no recipient, and gives no event. The mailer's metadata
comes back in `client_reference`. Reports of the Conversation API, which sends SMS among others, are
in `message_delivery_report`, with the metadata in the message's. Sources: Sinch's
docs, "SMS delivery reports", "Delivery report error codes", "SMPP error codes", "10DLC and
toll-free error codes"; Conversation API, "Callbacks" and "Reason codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from schemas.providers._common import (
    callback_metadata,
    channel_label,
    international_number,
    part_count,
    reader,
    reference_metadata,
    validator,
)
from schemas.providers._rejections import RejectedPart, UnreadableError, explain_validation
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields

PROVIDER: Final = "sinch"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="`client_reference`, metadata", batches=True)

RECIPIENT_REPORTS: Final = frozenset(
    {"recipient_delivery_report_sms", "recipient_delivery_report_mms"}
)
BATCH_REPORTS: Final = frozenset({"delivery_report_sms", "delivery_report_mms"})
#: Incoming messages.
IGNORED_EVENTS: Final = frozenset({"mo_text", "mo_binary", "mo_media"})

STATUS_KINDS: Final = {
    "queued": "queued",
    "dispatched": "sent",
    "delivered": "delivery",
    "expired": "expired",
    "rejected": "rejected",
    "aborted": "failed",
    "cancelled": "failed",
    "failed": "failed",
    # By the SMSC, "if the destination is an invalid MSISDN or opted out subscriber".
    "deleted": "undelivered",
    "unknown": "unknown",
}

#: Codes that say more than the status word; for all others the word counts.
ERROR_KINDS: Final = {
    code: kind
    for kind, codes in {
        "queued": [400],
        "sent": [401],
        "undelivered": [
            402, 417, 418,                       # unroutable; MMS unreachable, not recognised
            9, 10, 12, 13, 14, 17, 108,          # no such number plan, zone or network
            100, 101, 109, 150, 151, 152, 154,   # unknown, barred, without SMS
            153, 158, 159, 201, 202, 203, 210,   # absent, busy, memory full
            200, 204, 205, 206, 212,             # unidentified, illegal subscriber or device
            300, 301, 302,                       # destination address invalid
        ],
        "rejected": [
            408, 415,                            # by the SMSC; MMS by the network
            15, 16, 19, *range(60, 68), 77,      # screening
            *range(250, 258), 321,               # barring, receiver
        ],
        "expired": [406],
        "failed": [
            403, 404, 405, 407, 410, 411, 412, 413, 414, 416,
            310, 332, 334, 349,                  # sender, bind, parameter, request
            *range(1, 9), 18, 40, *range(50, 57), *range(70, 77),  # internal
        ],
    }.items()
    for code in codes
}  # fmt: skip


#: Statuses of the Conversation API; a message that switches channels is not finished.
CONVERSATION_STATUS_KINDS: Final = {
    "queued_on_channel": "sent",
    "delivered": "delivery",
    "read": "read",
    "failed": "failed",
    "switching_channel": "note",
}
#: Reasons of a failure that say more than the status.
REASON_KINDS: Final = {
    "RECIPIENT_NOT_REACHABLE": "undelivered",
    "RECIPIENT_INVALID_CHANNEL_IDENTITY": "undelivered",
    "RECIPIENT_NOT_OPTED_IN": "rejected",
    "DELIVERY_REJECTED_DUE_TO_POLICY": "rejected",
    "CHANNEL_REJECT": "rejected",
    "DELIVERY_TIMED_OUT": "expired",
}
#: Channels whose recipients are phone numbers.
PHONE_CHANNELS: Final = frozenset({"SMS", "MMS", "RCS", "WHATSAPP"})


class _Channel(TypedDict, total=False):
    channel: str | None
    identity: str | None


class _Reason(TypedDict, total=False):
    code: str | None
    description: str | None


class _Delivery(TypedDict, total=False):
    """A report of the Conversation API."""

    message_id: str | None
    status: str | None
    channel_identity: _Channel | None
    reason: _Reason | None
    metadata: str | None


class _Status(TypedDict, total=False):
    """The recipients of a batch report that share one status."""

    code: int | None
    status: str | None
    recipients: list[object] | None


class _Report(TypedDict, total=False):
    type: str | None
    batch_id: str | None
    recipient: str | None
    code: int | None
    status: str | None
    at: str | None
    client_reference: str | None
    number_of_message_parts: int | None
    statuses: list[object] | None
    message_delivery_report: _Delivery
    message_metadata: str | None
    message: object
    app_id: object
    event_time: str | None


_read_report: Final = reader(_Report)
_read_status: Final = validator(_Status)
_read_recipient: Final = validator(str)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one report; see `schemas.providers.Adapter`."""
    report: _Report = _read_report(payload)
    if "message_delivery_report" in report:
        yield _conversation_event(
            report["message_delivery_report"], report, callback_metadata(headers)
        )
        return
    if "app_id" in report:
        return  # another trigger of a webhook of the Conversation API
    name = report.get("type") or ""
    if name in IGNORED_EVENTS or (not name and "message" in report):
        return
    if name not in RECIPIENT_REPORTS and name not in BATCH_REPORTS:
        raise UnreadableError(f"Sinch callback type {name[:60]!r} is not known")
    if not (batch_id := report.get("batch_id")):
        raise UnreadableError("a Sinch delivery report names its batch_id")
    shared: EventFields = {
        **callback_metadata(headers),
        **reference_metadata(report.get("client_reference")),
        **part_count(report.get("number_of_message_parts")),
        "provider_message_id": batch_id,
    }
    if at := report.get("at"):
        shared["occurred_at"] = iso_time(at)
    if name in RECIPIENT_REPORTS:
        yield _recipient_event(report.get("recipient") or "", _status_fields(report), shared)
        return
    for index, status in enumerate(report.get("statuses") or ()):
        yield from _status_events(payload, index, status, shared)


def _conversation_event(delivery: _Delivery, report: _Report, shared: EventFields) -> EventFields:
    """Return the event of a report of the Conversation API."""
    word = (delivery.get("status") or "").lower()
    if word not in CONVERSATION_STATUS_KINDS:
        raise UnreadableError(f"Sinch delivery status {word[:60]!r} is not known")
    if not (message_id := delivery.get("message_id")):
        raise UnreadableError("a Sinch delivery report names its message_id")
    reason = delivery.get("reason") or _Reason()
    code = reason.get("code") or ""
    to = delivery.get("channel_identity") or _Channel()
    identity = to.get("identity") or ""
    event: EventFields = {
        **shared,
        **reference_metadata(report.get("message_metadata") or delivery.get("metadata")),
        "kind": REASON_KINDS.get(code, "failed")
        if word == "failed"
        else CONVERSATION_STATUS_KINDS[word],
        "recipient": international_number(identity)
        if to.get("channel") in PHONE_CHANNELS
        else identity,
        "provider_message_id": message_id,
        "label": channel_label(word, to.get("channel") or ""),
    }
    if code:
        event["reason_code"] = code
    if text := reason.get("description"):
        event["diagnostic"] = text
    if at := report.get("event_time"):
        event["occurred_at"] = iso_time(at)
    return event


def _status_events(
    payload: bytes, index: int, element: object, shared: EventFields
) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one element of a batch report's statuses."""
    try:
        status = _read_status(element)
        fields = _status_fields(status)
    except UnreadableError as error:
        yield _rejected_status(str(error), payload, index, element)
        return
    except ValidationError as error:
        yield _rejected_status(explain_validation(error), payload, index, element)
        return
    for recipient in status.get("recipients") or ():
        try:
            yield _recipient_event(_read_recipient(recipient), fields, shared)
        except ValidationError as error:
            alone = {**status, "recipients": [recipient]}
            yield _rejected_status(explain_validation(error), payload, index, alone)


def _status_fields(report: _Report | _Status) -> EventFields:
    """Return the kind of a status, with its word and code."""
    word = report.get("status") or ""
    code = report.get("code") or 0
    kind = ERROR_KINDS.get(code) or STATUS_KINDS.get(word.lower())
    if kind is None:
        raise UnreadableError(f"Sinch delivery status {word[:60]!r} is not known")
    fields: EventFields = {"kind": kind, "label": word.lower()}
    if code:
        fields["reason_code"] = str(code)
    return fields


def _recipient_event(recipient: str, fields: EventFields, shared: EventFields) -> EventFields:
    return {**shared, **fields, "recipient": international_number(recipient)}


def _rejected_status(reason: str, payload: bytes, index: int, status: object) -> RejectedPart:
    """Return a rejection that holds the report with one status only."""
    body = from_json(payload)
    body["statuses"] = [status]
    return RejectedPart(reason=reason, raw=to_json(body), element=index)
