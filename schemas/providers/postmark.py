"""Postmark: one record in each push, named by its `RecordType`.

Only bounces and complaints have an id of their own. A bounce's `Description` explains its type in
general ("ex: unknown user"), so only `Details` is searched for codes and phrases. Sources:
Postmark's developer docs, "Webhooks overview" and "Bounce API" (bounce types).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict

from schemas.providers._common import (
    EXPLANATION_PREFIX,
    Ignored,
    echoed_metadata,
    limited_tags,
    reader,
    reply_fields,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields

PROVIDER: Final = "postmark"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`Metadata`", deferrals=True, opens="unmarked")

#: The kinds of bounce records by type; many are no bounces.
BOUNCE_TYPE_KINDS: Final = {
    "HardBounce": "bounce",
    "SoftBounce": "bounce",
    "Unknown": "bounce",
    "BadEmailAddress": "bounce",
    "Blocked": "bounce",
    "DMARCPolicy": "bounce",
    "SpamNotification": "bounce",
    "VirusNotification": "bounce",
    "Transient": "deferral",
    "DnsError": "deferral",
    "SpamComplaint": "complaint",
    "Unsubscribe": "unsubscribe",
    "Subscribe": "resubscribe",
    "ManuallyDeactivated": "invalid",
    "Unconfirmed": "failure",
    "SMTPApiError": "failure",
    "TemplateRenderingFailed": "failure",
    "AutoResponder": "note",
    "AddressChange": "note",
    "ChallengeVerification": "note",
    "OpenRelayTest": "note",
}
LABEL_CLASSES: Final[Mapping[str, BounceClass]] = {
    "HardBounce": "hard",
    "BadEmailAddress": "hard",
    "SoftBounce": "soft",
    "Blocked": "block",
    "DMARCPolicy": "block",
    "SpamNotification": "block",
    "VirusNotification": "block",
    "Unknown": "undetermined",
}
#: The kind of a suppression by its reason.
SUPPRESSION_KINDS: Final = {
    "HardBounce": "bounce",
    "SpamComplaint": "complaint",
    "ManualSuppression": "unsubscribe",
}
#: Incoming mail: a bounce type, and a record type.
IGNORED_EVENTS: Final = frozenset({"InboundError", "Inbound"})
IGNORED: Final = Ignored(("RecordType",), IGNORED_EVENTS)
#: In the details of an `SMTPApiError`: the address is suppressed.
INACTIVE_TEXT: Final = "marked as inactive"


class _Geo(TypedDict, total=False):
    IP: str | None


class _Record(TypedDict, total=False):
    RecordType: str
    ID: int | str | None
    Type: str | None
    Tag: str | None
    MessageID: str | None
    Metadata: dict[str, object] | None
    Recipient: str | None
    Email: str | None
    Subject: str | None
    Details: str | None
    Description: str | None
    DeliveredAt: str | None
    BouncedAt: str | None
    ReceivedAt: str | None
    ChangedAt: str | None
    OriginalLink: str | None
    UserAgent: str | None
    Geo: _Geo | None
    SuppressSending: bool | None
    SuppressionReason: str | None
    FromFull: object  # incoming mail, which names no RecordType


_read_record: Final = reader(_Record)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the event of one record; see `schemas.providers.Adapter`."""
    del headers
    record: _Record = _read_record(payload)
    word = record.get("RecordType") or ""
    if word in IGNORED_EVENTS or (not word and "FromFull" in record):
        return
    if word not in READERS:
        raise UnreadableError(
            f"Postmark RecordType {word[:60]!r} is not known"
            if word
            else "a Postmark record has to name its RecordType"
        )
    if word in TYPED_RECORDS and record.get("Type") in IGNORED_EVENTS:
        return
    fields = _shared_fields(record)
    READERS[word](record, fields)
    yield fields


def _shared_fields(record: _Record) -> EventFields:
    """Return the fields that records of all types have."""
    fields = echoed_metadata(record.get("Metadata"))
    fields["recipient"] = record.get("Recipient") or record.get("Email") or ""
    if message_id := record.get("MessageID"):
        fields["provider_message_id"] = message_id
    if event_id := record.get("ID"):
        fields["provider_event_id"] = str(event_id)
    if subject := record.get("Subject"):
        fields["subject"] = subject
    if tag := record.get("Tag"):
        fields["tags"] = limited_tags([tag])
    return fields


def _add_delivery(record: _Record, fields: EventFields) -> None:
    fields["kind"] = "delivery"
    fields |= _time(record.get("DeliveredAt"))
    fields |= reply_fields(record.get("Details"))


def _add_bounce(record: _Record, fields: EventFields) -> None:
    word = record.get("Type") or ""
    kind = BOUNCE_TYPE_KINDS.get(word)
    if kind is None:
        raise UnreadableError(f"Postmark bounce type {word[:60]!r} is not known")
    details = record.get("Details") or ""
    if word == "SMTPApiError" and INACTIVE_TEXT in details.lower():
        kind = "invalid"
    fields |= _time(record.get("BouncedAt"))
    fields |= reply_fields(details)
    fields |= {"kind": kind, "reason_code": word, "label": word}
    if not details and (description := record.get("Description")):
        fields["diagnostic"] = EXPLANATION_PREFIX + description


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", ""))


def _add_complaint(record: _Record, fields: EventFields) -> None:
    fields |= _time(record.get("BouncedAt"))
    fields["kind"] = "complaint"
    fields["reason_code"] = record.get("Type") or "SpamComplaint"
    if text := record.get("Details") or record.get("Description"):
        fields["diagnostic"] = text


def _add_open(record: _Record, fields: EventFields) -> None:
    fields |= _time(record.get("ReceivedAt"))
    fields["kind"] = "open"
    if agent := record.get("UserAgent"):
        fields["user_agent"] = agent
    if (geo := record.get("Geo")) and (address := geo.get("IP")):
        fields["ip"] = address


def _add_click(record: _Record, fields: EventFields) -> None:
    _add_open(record, fields)
    fields["kind"] = "click"
    if url := record.get("OriginalLink"):
        fields["url"] = url


def _add_subscription(record: _Record, fields: EventFields) -> None:
    fields |= _time(record.get("ChangedAt"))
    if not record.get("SuppressSending"):
        fields["kind"] = "resubscribe"
        return
    reason = record.get("SuppressionReason") or ""
    kind = SUPPRESSION_KINDS.get(reason)
    if kind is None:
        raise UnreadableError(f"Postmark SuppressionReason {reason[:60]!r} is not known")
    fields |= {"kind": kind, "reason_code": reason}
    if kind == "bounce":
        fields["label"] = reason


def _time(text: str | None) -> EventFields:
    return {"occurred_at": iso_time(text)} if text else {}


#: The records that name a bounce type.
TYPED_RECORDS: Final = frozenset({"Bounce", "SMTPApiError"})
#: The function that reads a record, by its RecordType.
READERS: Final[Mapping[str, Callable[[_Record, EventFields], None]]] = {
    "Delivery": _add_delivery,
    "Bounce": _add_bounce,
    "SMTPApiError": _add_bounce,
    "SpamComplaint": _add_complaint,
    "Open": _add_open,
    "Click": _add_click,
    "SubscriptionChange": _add_subscription,
}
