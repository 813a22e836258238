"""Postmark: one record in each push, named by its `RecordType`.

Only bounces and complaints have an id of their own. A bounce's `Description` explains its type in
general ("ex: unknown user"), so only `Details` is searched for codes and phrases. Sources:
Postmark's developer docs, "Webhooks overview" and "Bounce API" (bounce types).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from typing_extensions import TypedDict

from schemas.providers import IN_GENERAL, UnreadableError
from schemas.providers._common import instant, ours, reader, reply, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.events import BounceClass, Channel, Fields

PROVIDER: Final = "postmark"
CHANNEL: Final[Channel] = "email"

#: The types of a bounce record, many of which are no bounces.
KINDS: Final = {
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
LABELS: Final[Mapping[str, BounceClass]] = {
    "HardBounce": "hard",
    "BadEmailAddress": "hard",
    "SoftBounce": "soft",
    "Blocked": "block",
    "DMARCPolicy": "block",
    "SpamNotification": "block",
    "VirusNotification": "block",
    "Unknown": "undetermined",
}
#: Why sending to an address was stopped.
SUPPRESSIONS: Final = {
    "HardBounce": "bounce",
    "SpamComplaint": "complaint",
    "ManualSuppression": "unsubscribe",
}
#: Mail that came in: a bounce type, and a record type.
NOT_OURS: Final = frozenset({"InboundError", "Inbound"})
#: What `SMTPApiError` says of a message to a suppressed address.
INACTIVE: Final = "marked as inactive"

Maybe = str | None


class _Geo(TypedDict, total=False):
    IP: Maybe


class _Record(TypedDict, total=False):
    RecordType: str
    ID: int | str | None
    Type: Maybe
    Tag: Maybe
    MessageID: Maybe
    Metadata: dict[str, object] | None
    Recipient: Maybe
    Email: Maybe
    Subject: Maybe
    Details: Maybe
    Description: Maybe
    DeliveredAt: Maybe
    BouncedAt: Maybe
    ReceivedAt: Maybe
    ChangedAt: Maybe
    OriginalLink: Maybe
    UserAgent: Maybe
    Geo: _Geo | None
    SuppressSending: bool | None
    SuppressionReason: Maybe
    FromFull: object  # incoming mail, which names no RecordType


_record: Final = reader(_Record)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields]:
    """Yield the event of one record; see `schemas.providers.Adapter`."""
    del headers
    record: _Record = _record(payload)
    word = record.get("RecordType") or ""
    if word in NOT_OURS or (not word and "FromFull" in record):
        return
    if word not in READERS:
        raise UnreadableError(
            f"Postmark RecordType {word[:60]!r} is not known"
            if word
            else "a Postmark record has to name its RecordType"
        )
    if word in WITH_TYPES and record.get("Type") in NOT_OURS:
        return
    fields = _shared(record)
    READERS[word](record, fields)
    yield fields


def _shared(record: _Record) -> Fields:
    """Return what every record says about its message."""
    fields = ours(record.get("Metadata"))
    fields["recipient"] = record.get("Recipient") or record.get("Email") or ""
    if message_id := record.get("MessageID"):
        fields["provider_message_id"] = message_id
    if event_id := record.get("ID"):
        fields["provider_event_id"] = str(event_id)
    if subject := record.get("Subject"):
        fields["subject"] = subject
    if tag := record.get("Tag"):
        fields["tags"] = tags([tag])
    return fields


def _delivery(record: _Record, fields: Fields) -> None:
    fields["kind"] = "delivery"
    fields.update(_time(record.get("DeliveredAt")), **reply(record.get("Details")))


def _bounce(record: _Record, fields: Fields) -> None:
    word = record.get("Type") or ""
    kind = KINDS.get(word)
    if kind is None:
        raise UnreadableError(f"Postmark bounce type {word[:60]!r} is not known")
    details = record.get("Details") or ""
    if word == "SMTPApiError" and INACTIVE in details.lower():
        kind = "invalid"
    fields.update(_time(record.get("BouncedAt")), **reply(details))
    fields.update(kind=kind, reason_code=word, label=word)
    if not details and (description := record.get("Description")):
        fields["diagnostic"] = IN_GENERAL + description


def label_class(bounce: Mapping[str, object]) -> BounceClass | None:
    """Return what the provider's verdict means in our words; see `schemas.providers.Adapter`."""
    return LABELS.get(str(bounce.get("label", "")))


def _complaint(record: _Record, fields: Fields) -> None:
    fields.update(_time(record.get("BouncedAt")), kind="complaint")
    fields["reason_code"] = record.get("Type") or "SpamComplaint"
    if text := record.get("Details") or record.get("Description"):
        fields["diagnostic"] = text


def _open(record: _Record, fields: Fields) -> None:
    fields.update(_time(record.get("ReceivedAt")), kind="open")
    if agent := record.get("UserAgent"):
        fields["user_agent"] = agent
    if (geo := record.get("Geo")) and (address := geo.get("IP")):
        fields["ip"] = address


def _click(record: _Record, fields: Fields) -> None:
    _open(record, fields)
    fields["kind"] = "click"
    if url := record.get("OriginalLink"):
        fields["url"] = url


def _subscription(record: _Record, fields: Fields) -> None:
    fields.update(_time(record.get("ChangedAt")))
    if not record.get("SuppressSending"):
        fields["kind"] = "resubscribe"
        return
    reason = record.get("SuppressionReason") or ""
    kind = SUPPRESSIONS.get(reason)
    if kind is None:
        raise UnreadableError(f"Postmark SuppressionReason {reason[:60]!r} is not known")
    fields.update(kind=kind, reason_code=reason)
    if kind == "bounce":
        fields["label"] = reason


def _time(text: Maybe) -> Fields:
    return {"occurred_at": instant(text)} if text else {}


#: The records that name a bounce type.
WITH_TYPES: Final = frozenset({"Bounce", "SMTPApiError"})
#: Who reads which record, by its RecordType.
READERS: Final[Mapping[str, Callable[[_Record, Fields], None]]] = {
    "Delivery": _delivery,
    "Bounce": _bounce,
    "SMTPApiError": _bounce,
    "SpamComplaint": _complaint,
    "Open": _open,
    "Click": _click,
    "SubscriptionChange": _subscription,
}
