"""KumoMTA: records of its log, as JSON objects, arrays or lines, by webhook or its own producer.

A failure is final only as `Bounce`, `Expiration` or `OOB`. Of a report on an earlier message
(`OOB`, `Feedback`) the record's id, headers and metadata are those of the report, so they are not
read; a complaint is of whom the report names, not of the mailbox that it came to. Sources:
KumoMTA's docs, "Log Record"; its source, of what it makes of a report that comes in.
"""

from __future__ import annotations

from email.parser import HeaderParser
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import (
    Ignored,
    as_text,
    code_field,
    echoed_metadata,
    header_metadata,
    non_empty,
    read_elements,
    read_lines,
    unknown_event,
    validator,
)
from schemas.providers._tells import Tells
from schemas.providers._times import epoch_time, reported_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.bounces import LabelClass
    from schemas.events import Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "kumomta"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(
    ids="`meta`, `X-…` headers",
    recipient="yes, or a list",
    deferrals=True,
    batches=True,
)

EVENT_KINDS: Final = {
    "Reception": "queued",
    "Delivery": "delivery",
    "TransientFailure": "deferral",
    "Delay": "note",
    "Bounce": "bounce",
    "Expiration": "bounce",
    "AdminBounce": "failure",
    "OOB": "bounce",
    "Feedback": "complaint",
}
#: What a server that sends to us was answered, and messages that move between queues and nodes.
IGNORED_EVENTS: Final = frozenset(
    {"Rejection", "AdminRebind", "DeferredInjectionRebind", "XferIn", "XferOut"}
)
IGNORED: Final = Ignored(("type",), IGNORED_EVENTS)
#: How a record of a record is received, which KumoMTA queues like mail on its way to a webhook.
LOG_PROTOCOL: Final = "LogRecord"
#: Reports on an earlier message, which are messages of their own.
REPORTS: Final = frozenset({"OOB", "Feedback"})
#: Kinds of reports by their type; any other is a complaint.
FEEDBACK_KINDS: Final = {
    "not-spam": "note",
    "auth-failure": "note",
    "dmarc": "note",
    "opt-out": "unsubscribe",
}
#: The class by KumoMTA's classifier, else by the type of record.
LABEL_CLASSES: Final[Mapping[str, LabelClass]] = {
    "InvalidRecipient": "hard",
    "InactiveMailbox": "hard",
    "BadDomain": "hard",
    "BadConnection": "soft",
    "DNSFailure": "soft",
    "MessageExpired": "soft",
    "NoAnswerFromHost": "soft",
    "QuotaIssues": "soft",
    "TransientFailure": "soft",
    "AuthenticationFailed": "block",
    "BadConfiguration": "block",
    "ContentRelated": "block",
    "InvalidSender": "block",
    "PolicyRelated": "block",
    "ProhibitedAttachment": "block",
    "ProtocolErrors": "block",
    "RelayDenied": "block",
    "RelayingIssues": "block",
    "RoutingErrors": "block",
    "SpamBlock": "block",
    "SpamContent": "block",
    "SpamRelated": "block",
    "VirusRelated": "block",
    "Bounce": "refused",
    "Expiration": "soft",
}
UNCATEGORIZED: Final = "Uncategorized"


class _Response(TypedDict, total=False):
    code: int | None
    enhanced_code: dict[str, int] | None
    content: str | None


class _Feedback(TypedDict, total=False):
    feedback_type: str | None
    user_agent: str | None
    original_rcpto_to: list[object] | None
    original_message: str | None
    supplemental_trace: dict[str, object] | None


class _Record(TypedDict, total=False):
    type: str
    id: str | None
    recipient: str | list[object] | None
    response: _Response | None
    timestamp: float | str | None
    bounce_classification: str | None
    feedback_report: _Feedback | None
    reception_protocol: str | None
    meta: dict[str, object] | None
    headers: dict[str, object] | None


_read_record: Final = validator(_Record)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one push; see `schemas.providers.Adapter`."""
    del headers
    if payload.lstrip()[:1] == b"[":
        return read_elements(payload, _record_events, IGNORED)
    return read_lines(payload, _record_events, IGNORED)


def _record_events(element: object) -> Iterator[EventFields]:
    record: _Record = _read_record(element)
    word = record.get("type") or ""
    if word in IGNORED_EVENTS or record.get("reception_protocol") == LOG_PROTOCOL:
        return
    kind = EVENT_KINDS.get(word)
    if kind is None:
        raise unknown_event("KumoMTA", word, "type")
    classified = record.get("bounce_classification") or UNCATEGORIZED
    fields: EventFields = {
        "kind": kind,
        "label": word if classified == UNCATEGORIZED else classified,
        **reported_time(record.get("timestamp"), epoch_time),
    }
    if word == "Feedback":
        yield from _complaints(record.get("feedback_report") or _Feedback(), fields)
        return
    if kind == "bounce":
        fields["late"] = word == "OOB"
    if kind != "queued":
        fields |= _reply(record.get("response") or _Response())
    if word not in REPORTS:
        fields |= _message_fields(record)
    for recipient in _addresses(record.get("recipient")):
        yield {**fields, "recipient": recipient}


def _message_fields(record: _Record) -> EventFields:
    """Return which message of the sender a record is about."""
    mail = {name.lower(): as_text(value) for name, value in (record.get("headers") or {}).items()}
    fields: EventFields = {
        "provider_message_id": record.get("id") or "",
        "subject": mail.get("subject", ""),
    }
    return {**header_metadata(mail), **echoed_metadata(record.get("meta")), **non_empty(fields)}


def _reply(response: _Response) -> EventFields:
    """Return a server's reply; a code without a text is one that KumoMTA supplied."""
    content = response.get("content") or ""
    numbers = response.get("enhanced_code") or {}
    parts = [numbers.get(name, 0) for name in ("class", "subject", "detail")]
    enhanced = ".".join(map(str, parts)) if parts[0] else ""
    fields = code_field(response.get("code") if content else None)
    if enhanced:
        fields["enhanced_status"] = enhanced
    if content:
        # A late report's text has its enhanced code still before it.
        head = [str(fields.get("smtp_code", "")), "" if content.startswith(enhanced) else enhanced]
        fields["diagnostic"] = " ".join(filter(None, [*head, content]))
    return fields


def _complaints(report: _Feedback, fields: EventFields) -> Iterator[EventFields]:
    """Yield an event for whom a feedback report names, by KumoMTA's own header if it is there."""
    word = report.get("feedback_type") or ""
    origin = report.get("supplemental_trace") or {}
    mail = HeaderParser().parsestr(report.get("original_message") or "")
    recipient = origin.get("recipient")
    fields = {
        **fields,
        "kind": FEEDBACK_KINDS.get(word.lower(), fields["kind"]),
        **header_metadata({name.lower(): str(value) for name, value in mail.items()}),
        **echoed_metadata(origin),
    }
    if word:
        fields["reason_code"] = word
    if not isinstance(recipient, str | list):
        recipient = report.get("original_rcpto_to")
    for address in _addresses(recipient):
        yield {**fields, "recipient": address}


def _addresses(value: str | list[Any] | None) -> list[str]:
    """Return one or several addresses; [''] if there is none."""
    several = [value] if isinstance(value, str) else value or []
    return [bare_address(as_text(address)) for address in several] or [""]


def label_class(bounce: Mapping[str, Any]) -> LabelClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", ""))
