"""Telnyx: message webhooks (JSON), one event for each recipient.

The error code decides before the status word; errors are those of the message, and do not touch a
recipient reported as delivered. The mailer's ids come back as tags (`message_id=…`); other tags
stay tags. Telnyx tries up to three times per address, so a webhook may come more than once.
Sources: Telnyx's docs, "Receiving webhooks for messaging" and "Messaging error codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from schemas.providers import Rejected, UnreadableError, explain_validation
from schemas.providers._common import OURS, called_back, echo, instant, parts, reader, tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, Fields

PROVIDER: Final = "telnyx"
CHANNEL: Final[Channel] = "sms"

STATUSES: Final = {
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
#: Webhooks about messages begin so; calls, numbers and registrations have webhooks as well.
MESSAGES: Final = "message."
#: Messages that come in, and links that were followed.
NOT_OURS: Final = frozenset({"message.received", "message.link_click"})
CLICK: Final = "link_clicked"

#: Codes that say more than the status word; for all others the word stands.
ERRORS: Final = {
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

Word: TypeAlias = str | int | None


class _Recipient(TypedDict, total=False):
    phone_number: str | None
    status: str | None


class _Error(TypedDict, total=False):
    code: Word
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


_push: Final = reader(_Push)
_message: Final = TypeAdapter(_Message).validator.validate_python
_recipient: Final = TypeAdapter(_Recipient).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:
    """Yield the events of one webhook; see `schemas.providers.Adapter`."""
    push: _Push = _push(payload)
    data: _Data = push.get("data", push)
    kind = data.get("event_type") or ""
    if data.get("record_type") == CLICK:
        return
    if not kind:
        raise UnreadableError("a Telnyx webhook names its event_type")
    if kind in NOT_OURS or not kind.startswith(MESSAGES):
        return
    message: _Message = _message(data.get("payload"))
    if message.get("direction") == "inbound":
        return
    recipients = [*(message.get("to") or ()), *(message.get("cc") or ())]
    if not recipients or not message.get("id"):
        raise UnreadableError("a Telnyx message has to hold 'id' and 'to'")

    shared = {**called_back(headers), **_shared(data, message)}
    error = _error(message.get("errors") or [])
    for place, recipient in enumerate(recipients):
        try:
            yield _event(_recipient(recipient), error, shared)
        except UnreadableError as problem:
            yield Rejected(reason=str(problem), raw=_alone(payload, recipient), element=place)
        except ValidationError as problem:
            reason = explain_validation(problem)
            yield Rejected(reason=reason, raw=_alone(payload, recipient), element=place)


def _shared(data: _Data, message: _Message) -> Fields:
    """Return what every event of a webhook says about its message."""
    fields = _tagged(message.get("tags") or [])
    fields |= parts(message.get("parts"))
    fields["provider_message_id"] = message.get("id") or ""
    if event_id := data.get("id"):
        fields["provider_event_id"] = event_id
    if occurred_at := data.get("occurred_at"):
        fields["occurred_at"] = instant(occurred_at)
    return fields


def _tagged(labels: list[str | None]) -> Fields:
    """Return our ids out of tags like `message_id=42`, and the other tags as they are."""
    if not labels:
        return {}
    ours: dict[str, str] = {}
    others = []
    for label in labels:
        name, _, value = (label or "").partition("=")
        if name in OURS:
            ours[name] = value
        else:
            others.append(label)
    fields = echo(ours)
    if rest := tags(others):
        fields["tags"] = rest
    return fields


def _error(errors: list[_Error]) -> Fields:
    """Return the code and text of the first error that is known, else of the first."""
    known = [error for error in errors if str(error.get("code")) in ERRORS]
    fields: Fields = {}
    for error in (known or errors)[:1]:
        if code := error.get("code"):
            fields["reason_code"] = str(code)
        if text := error.get("detail") or error.get("title"):
            fields["diagnostic"] = text
    return fields


def _event(recipient: _Recipient, error: Fields, shared: Fields) -> Fields:
    """Return the event of one recipient."""
    word = (recipient.get("status") or "").lower()
    kind = STATUSES.get(word)
    if kind != "delivery":
        kind = ERRORS.get(str(error.get("reason_code"))) or kind
        shared = {**shared, **error}
    if kind is None:
        raise UnreadableError(f"Telnyx message status {word[:60]!r} is not known")
    number = recipient.get("phone_number") or ""
    return {**shared, "kind": kind, "recipient": number, "label": word}


def _alone(payload: bytes, recipient: object) -> bytes:
    """Return the webhook with one recipient only."""
    body = from_json(payload)
    body.get("data", body)["payload"] |= {"to": [recipient], "cc": []}
    return to_json(body)
