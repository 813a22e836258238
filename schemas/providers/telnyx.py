"""Telnyx: message webhooks (JSON), one event for each recipient.

The error code decides what a failure is; errors are those of the message, and do not touch a
recipient whose status is no failure. The mailer's metadata comes back as tags (`message_id=…`);
other tags stay tags. Telnyx tries up to three times per address, so a webhook may come more than
once. Sources: Telnyx's docs, "Receiving webhooks for messaging" and "Messaging error codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from pydantic import ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from schemas.providers._common import (
    METADATA_FIELDS,
    callback_metadata,
    echoed_texts,
    explained_kind,
    limited_tags,
    part_count,
    reader,
    validator,
)
from schemas.providers._rejections import RejectedPart, UnreadableError, explain_validation
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields

PROVIDER: Final = "telnyx"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="`tags`, query", batches=True)

STATUS_KINDS: Final = {
    "queued": "queued",
    "sending": "queued",
    "sent": "sent",
    "delivered": "delivery",
    "read": "read",
    "expired": "expired",
    "sending_failed": "failed",
    "gw_timeout": "failed",
    "delivery_failed": "undelivered",
    "delivery_unconfirmed": "unknown",
    "dlr_timeout": "unknown",
}
#: Prefix of webhooks about messages; calls, numbers and registrations have webhooks as well.
MESSAGE_PREFIX: Final = "message."
#: Incoming messages, and links that were followed.
IGNORED_EVENTS: Final = frozenset({"message.received", "message.link_click"})
CLICK_RECORD_TYPE: Final = "link_clicked"

#: Codes that say more than a word of failure; for all others the word counts.
ERROR_KINDS: Final = {
    code: kind
    for kind, codes in {
        "opt_out": ["40300"],
        "undelivered": [
            "40001", "40006", "40008", "40012", "40310",  # not routable, unreachable, number
            "40301", "40319",                             # number does not take such messages
        ],
        "rejected": [
            "40002", "40003", "40004", "40011", "40015",  # spam, refused, too many
            "40010", "40016", "40017", "40018", "40329",  # sender not registered with the carrier
            "40315", "40322",                             # sender's reputation, content
        ],
        "expired": ["40005", "40014"],
        "failed": [
            "10007", "20100", "40007", "40009", "40013",  # internal, funds, loop, body, sender
            "40100", "40150", "40151", "40302", "40304",  # sender not enabled, size, content
            "40305", "40306", "40308", "40309", "40311",  # sender, region, profile
            "40312", "40313", "40314", "40316", "40317",  # profile, account, content
            "40318", "40320", "40321", "40328", "40333",  # queue full, sender, size, limit
        ],
    }.items()
    for code in codes
}  # fmt: skip

TextOrNumber: TypeAlias = str | int | None


class _Recipient(TypedDict, total=False):
    phone_number: str | None
    status: str | None


class _Error(TypedDict, total=False):
    code: TextOrNumber
    title: str | None
    detail: str | None


class _Message(TypedDict, total=False):
    id: str | None
    direction: str | None
    to: list[object] | None
    cc: list[object] | None
    tags: list[str | None] | None
    errors: list[_Error] | None
    parts: int | None


class _Data(TypedDict, total=False):
    id: str | None
    event_type: str | None
    record_type: str | None
    occurred_at: str | None
    payload: object


class _Push(_Data, total=False):
    """A webhook; the reference also shows it without the envelope."""

    data: _Data


_read_push: Final = reader(_Push)
_read_message: Final = validator(_Message)
_read_recipient: Final = validator(_Recipient)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one webhook; see `schemas.providers.Adapter`."""
    push: _Push = _read_push(payload)
    data: _Data = push.get("data", push)
    event_type = data.get("event_type") or ""
    if data.get("record_type") == CLICK_RECORD_TYPE:
        return
    if not event_type:
        raise UnreadableError("a Telnyx webhook names its event_type")
    if event_type in IGNORED_EVENTS or not event_type.startswith(MESSAGE_PREFIX):
        return
    message: _Message = _read_message(data.get("payload"))
    if message.get("direction") == "inbound":
        return
    recipients = [*(message.get("to") or ()), *(message.get("cc") or ())]
    if not recipients or not message.get("id"):
        raise UnreadableError("a Telnyx message has to hold 'id' and 'to'")

    shared: EventFields = {**callback_metadata(headers), **_shared_fields(data, message)}
    error_fields = _error_fields(message.get("errors") or [])
    for index, recipient in enumerate(recipients):
        try:
            yield _recipient_event(_read_recipient(recipient), error_fields, shared)
        except UnreadableError as error:
            yield RejectedPart(
                reason=str(error), raw=_single_recipient_payload(payload, recipient), element=index
            )
        except ValidationError as error:
            reason = explain_validation(error)
            yield RejectedPart(
                reason=reason, raw=_single_recipient_payload(payload, recipient), element=index
            )


def _shared_fields(data: _Data, message: _Message) -> EventFields:
    """Return the fields that all events of a webhook share."""
    fields = _tag_fields(message.get("tags") or [])
    fields |= part_count(message.get("parts"))
    fields["provider_message_id"] = message.get("id") or ""
    if event_id := data.get("id"):
        fields["provider_event_id"] = event_id
    if occurred_at := data.get("occurred_at"):
        fields["occurred_at"] = iso_time(occurred_at)
    return fields


def _tag_fields(labels: list[str | None]) -> EventFields:
    """Return the metadata in tags like `message_id=42`, and the other tags unchanged."""
    if not labels:
        return {}
    metadata: dict[str, str] = {}
    others = []
    for label in labels:
        name, _, value = (label or "").partition("=")
        if name in METADATA_FIELDS:
            metadata[name] = value
        else:
            others.append(label)
    fields = echoed_texts(metadata)
    if rest := limited_tags(others):
        fields["tags"] = rest
    return fields


def _error_fields(errors: list[_Error]) -> EventFields:
    """Return code and text of the first error in `ERROR_KINDS`, else of the first."""
    decisive = [error for error in errors if str(error.get("code")) in ERROR_KINDS]
    fields: EventFields = {}
    for error in (decisive or errors)[:1]:
        if code := error.get("code"):
            fields["reason_code"] = str(code)
        if text := error.get("detail") or error.get("title"):
            fields["diagnostic"] = text
    return fields


def _recipient_event(
    recipient: _Recipient, error_fields: EventFields, shared: EventFields
) -> EventFields:
    """Return the event of one recipient."""
    word = (recipient.get("status") or "").lower()
    code = error_fields.get("reason_code", "")
    kind = explained_kind(STATUS_KINDS.get(word), code, ERROR_KINDS)
    if kind != "delivery":
        shared = {**shared, **error_fields}
    if kind is None:
        raise UnreadableError(f"Telnyx message status {word[:60]!r} is not known")
    number = recipient.get("phone_number") or ""
    return {**shared, "kind": kind, "recipient": number, "label": word}


def _single_recipient_payload(payload: bytes, recipient: object) -> bytes:
    """Return the webhook with one recipient only."""
    body = from_json(payload)
    body.get("data", body)["payload"] |= {"to": [recipient], "cc": []}
    return to_json(body)
