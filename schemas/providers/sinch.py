"""Sinch: SMS delivery reports (JSON) of one recipient, or of a batch for each recipient it lists.

The code decides before the status word: Sinch's own codes are 400 to 418, those below come from the
SMSC. A batch summary that only counts says nothing about any recipient, and gives no event. The
mailer's ids come back in `client_reference`. Reports of the Conversation API, which sends SMS among
others, are in `message_delivery_report`, with the ids in the message's metadata. Sources: Sinch's
docs, "SMS delivery reports", "Delivery report error codes", "SMPP error codes", "10DLC and
toll-free error codes"; Conversation API, "Callbacks" and "Reason codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from schemas.providers import Rejected, UnreadableError, explain_validation
from schemas.providers._common import called_back, instant, international, parts, reader, reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, Fields

PROVIDER: Final = "sinch"
CHANNEL: Final[Channel] = "sms"

ONE: Final = frozenset({"recipient_delivery_report_sms", "recipient_delivery_report_mms"})
BATCH: Final = frozenset({"delivery_report_sms", "delivery_report_mms"})
#: Messages that come in.
NOT_OURS: Final = frozenset({"mo_text", "mo_binary", "mo_media"})

STATUSES: Final = {
    "queued": "queued",
    "dispatched": "sent",
    "delivered": "delivery",
    "expired": "expired",
    "rejected": "rejected",
    "aborted": "failed",
    "cancelled": "failed",
    "failed": "failed",
    # By the SMSC: "if the destination is an invalid MSISDN or opted out subscriber".
    "deleted": "undelivered",
    "unknown": "unknown",
}

#: Codes that say more than the status word; for all others the word stands.
ERRORS: Final = {
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


#: The same of the Conversation API; one that goes on by another channel is not over.
DELIVERIES: Final = {
    "queued_on_channel": "sent",
    "delivered": "delivery",
    "read": "read",
    "failed": "failed",
    "switching_channel": "note",
}
#: Why one failed, where that says more.
REASONS: Final = {
    "RECIPIENT_NOT_REACHABLE": "undelivered",
    "RECIPIENT_INVALID_CHANNEL_IDENTITY": "undelivered",
    "RECIPIENT_NOT_OPTED_IN": "rejected",
    "DELIVERY_REJECTED_DUE_TO_POLICY": "rejected",
    "CHANNEL_REJECT": "rejected",
    "DELIVERY_TIMED_OUT": "expired",
}
#: Channels whose recipients are phone numbers.
PHONES: Final = frozenset({"SMS", "MMS", "RCS", "WHATSAPP"})


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
    """What a batch report says about all recipients of one status."""

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
    event_time: str | None


_report: Final = reader(_Report)
_status: Final = TypeAdapter(_Status).validator.validate_python
_number: Final = TypeAdapter(str).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:
    """Yield the events of one report; see `schemas.providers.Adapter`."""
    report: _Report = _report(payload)
    if "message_delivery_report" in report:
        yield _delivered(report["message_delivery_report"], report, called_back(headers))
        return
    name = report.get("type") or ""
    if name in NOT_OURS or (not name and "message" in report):
        return
    if name not in ONE and name not in BATCH:
        raise UnreadableError(f"Sinch callback type {name[:60]!r} is not known")
    if not (batch_id := report.get("batch_id")):
        raise UnreadableError("a Sinch delivery report names its batch_id")
    shared: Fields = {
        **called_back(headers),
        **reference(report.get("client_reference")),
        **parts(report.get("number_of_message_parts")),
        "provider_message_id": batch_id,
    }
    if at := report.get("at"):
        shared["occurred_at"] = instant(at)
    if name in ONE:
        yield _event(report.get("recipient") or "", _said(report), shared)
        return
    for place, status in enumerate(report.get("statuses") or ()):
        yield from _listed(payload, place, status, shared)


def _delivered(delivery: _Delivery, report: _Report, shared: Fields) -> Fields:
    """Return the event of a report of the Conversation API."""
    word = (delivery.get("status") or "").lower()
    if word not in DELIVERIES:
        raise UnreadableError(f"Sinch delivery status {word[:60]!r} is not known")
    if not (message_id := delivery.get("message_id")):
        raise UnreadableError("a Sinch delivery report names its message_id")
    reason = delivery.get("reason") or _Reason()
    code = reason.get("code") or ""
    to = delivery.get("channel_identity") or _Channel()
    identity = to.get("identity") or ""
    event: Fields = {
        **shared,
        **reference(report.get("message_metadata") or delivery.get("metadata")),
        "kind": REASONS.get(code, "failed") if word == "failed" else DELIVERIES[word],
        "recipient": international(identity) if to.get("channel") in PHONES else identity,
        "provider_message_id": message_id,
        "label": word,
    }
    if code:
        event["reason_code"] = code
    if text := reason.get("description"):
        event["diagnostic"] = text
    if at := report.get("event_time"):
        event["occurred_at"] = instant(at)
    return event


def _listed(
    payload: bytes, place: int, element: object, shared: Fields
) -> Iterator[Fields | Rejected]:
    """Yield the events of one element of a batch report's statuses."""
    try:
        status = _status(element)
        said = _said(status)
    except UnreadableError as problem:
        yield _rejected(str(problem), payload, place, element)
        return
    except ValidationError as problem:
        yield _rejected(explain_validation(problem), payload, place, element)
        return
    for recipient in status.get("recipients") or ():
        try:
            yield _event(_number(recipient), said, shared)
        except ValidationError as problem:
            alone = {**status, "recipients": [recipient]}
            yield _rejected(explain_validation(problem), payload, place, alone)


def _said(report: _Report | _Status) -> Fields:
    """Return the kind of a status with what it rests on."""
    word = report.get("status") or ""
    code = report.get("code") or 0
    kind = ERRORS.get(code) or STATUSES.get(word.lower())
    if kind is None:
        raise UnreadableError(f"Sinch delivery status {word[:60]!r} is not known")
    fields: Fields = {"kind": kind, "label": word.lower()}
    if code:
        fields["reason_code"] = str(code)
    return fields


def _event(recipient: str, said: Fields, shared: Fields) -> Fields:
    return {**shared, **said, "recipient": international(recipient)}


def _rejected(reason: str, payload: bytes, place: int, status: object) -> Rejected:
    """Return a rejection that holds the report with one status only."""
    body = from_json(payload)
    body["statuses"] = [status]
    return Rejected(reason=reason, raw=to_json(body), element=place)
