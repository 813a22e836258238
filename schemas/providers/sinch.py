"""Sinch: SMS delivery reports (JSON) of one recipient, or of a batch for each recipient it lists.

The code decides before the status word: Sinch's own codes are 400 to 418, those below come from the
SMSC. A batch summary that only counts says nothing about any recipient, and gives no event. The
mailer's ids come back in `client_reference`. Sources: Sinch's docs, "SMS delivery reports",
"Delivery report error codes" and "SMPP error codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from schemas.providers import Rejected, UnreadableError, explain_validation
from schemas.providers._common import called_back, instant, international, parts, reference

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
            *range(1, 9), 18, 40, *range(50, 57), *range(70, 77),  # internal
        ],
    }.items()
    for code in codes
}  # fmt: skip


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


_report: Final = TypeAdapter(_Report).validator.validate_json
_status: Final = TypeAdapter(_Status).validator.validate_python
_number: Final = TypeAdapter(str).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:
    """Yield the events of one report; see `schemas.providers.Adapter`."""
    report: _Report = _report(payload)
    name = report.get("type") or ""
    if name in NOT_OURS:
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
