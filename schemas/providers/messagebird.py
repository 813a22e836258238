"""MessageBird: SMS status reports (a query, a form or JSON), and messages of the Conversations API.

In a report of a failure, the error code decides before the reason, and the reason before the status
word; most have no code. The mailer's metadata comes back in `reference`, or as parameters of the
report's address; in the Conversations API, in the message's `source`. The error codes of that API
are for all channels, so its status word decides. Sources: MessageBird's docs, "SMS API: status
reports", "SMS errors", "SMS platform extended error codes" and "Conversations API: webhooks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from schemas.providers._common import (
    METADATA_FIELDS,
    as_text,
    callback_metadata,
    echoed_metadata,
    echoed_texts,
    explained_kind,
    form_fields,
    international_number,
    part_count,
    reference_metadata,
    validator,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields

PROVIDER: Final = "messagebird"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="`reference`, `source`, query")

STATUS_KINDS: Final = {
    "scheduled": "queued",
    "sent": "sent",
    "buffered": "sent",
    "delivered": "delivery",
    "expired": "expired",
    "delivery_failed": "failed",
}
#: Codes of the mobile network (GSM MAP) and MessageBird's own from 100.
ERROR_KINDS: Final = {
    code: kind
    for kind, codes in {
        "opt_out": ["103"],
        "undelivered": [
            "1", "2", "3", "5", "7", "9", "12",       # unknown or illegal subscriber or device
            "6", "27", "31", "33", "40", "45", "46",  # absent, busy, memory full
            "8", "10", "11", "13", "21", "28",        # roaming, no SMS service, barred
            "29", "30", "144",                        # denied, number changed
        ],
        "rejected": ["104", "105", "106", "107"],     # sender, content, campaign limits
        "failed": ["32", "34", "35", "36", "51"],     # delivery, system, data, resources
    }.items()
    for code in codes
}  # fmt: skip
#: For any other reason, as "DLR not received", the word counts.
REASON_KINDS: Final = {
    "opted out": "opt_out",
    "incorrect number": "undelivered",
    "unknown subscriber": "undelivered",
    "unavailable subscriber": "undelivered",
    "carrier rejected": "rejected",
    "expired": "expired",
    "capacity limit reached": "failed",
    "generic delivery failure": "failed",
    "insufficient balance": "failed",
    "received network error": "failed",
}
#: Statuses of a message of the Conversations API.
CONVERSATION_STATUS_KINDS: Final = {
    "accepted": "queued",
    "pending": "queued",
    "transmitted": "sent",
    "sent": "sent",
    "delivered": "delivery",
    "read": "read",
    "failed": "failed",
    "rejected": "rejected",
}
MESSAGE_EVENTS: Final = frozenset({"message.created", "message.updated"})
IGNORED_EVENTS: Final = frozenset({"conversation.created", "conversation.updated"})
NO_ERROR_CODES: Final = frozenset({"", "0"})
FORM_FIELDS: Final = METADATA_FIELDS | {
    "id", "reference", "recipient", "status", "statusDatetime", "statusReason", "statusErrorCode",
    "messagePartCount", "originator", "body",
}  # fmt: skip


class _Error(TypedDict, total=False):
    code: int | str | None
    description: str | None


class _Message(TypedDict, total=False):
    """A message of the Conversations API."""

    id: str | None
    direction: str | None
    status: str | None
    to: str | int | None
    error: _Error | None
    source: dict[str, object] | None
    createdDatetime: str | None
    updatedDatetime: str | None


_read_object: Final = TypeAdapter(dict[str, object]).validator.validate_json
_read_message: Final = validator(_Message)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the event of one report; see `schemas.providers.Adapter`."""
    if payload.lstrip()[:1] != b"{":
        report = form_fields(payload.decode("utf-8", "replace").removeprefix("?"), FORM_FIELDS)
        yield from _report_events(report, callback_metadata(headers))
        return
    body = _read_object(payload)
    event_type = as_text(body.get("type"))
    if event_type in IGNORED_EVENTS:
        return
    if event_type in MESSAGE_EVENTS:
        yield from _conversation_events(
            _read_message(body.get("message")), callback_metadata(headers)
        )
    elif event_type:
        raise UnreadableError(f"MessageBird webhook type {event_type[:60]!r} is not known")
    else:
        report = {name: as_text(value) for name, value in body.items() if name in FORM_FIELDS}
        yield from _report_events(report, callback_metadata(headers))


def _conversation_events(message: _Message, shared: EventFields) -> Iterator[EventFields]:
    """Yield the event of a Conversations API message; none for an incoming one."""
    if message.get("direction") == "received":
        return
    word = (message.get("status") or "").lower()
    if word not in CONVERSATION_STATUS_KINDS:
        raise UnreadableError(f"MessageBird message status {word[:60]!r} is not known")
    if not (message_id := message.get("id")):
        raise UnreadableError("a MessageBird message names its id")
    error = message.get("error") or _Error()
    event: EventFields = {
        **shared,
        **echoed_metadata(message.get("source")),
        "kind": CONVERSATION_STATUS_KINDS[word],
        "recipient": international_number(str(message.get("to") or "")),
        "provider_message_id": message_id,
        "label": word,
    }
    if (code := str(error.get("code") or "")) not in NO_ERROR_CODES:
        event["reason_code"] = code
    if text := error.get("description"):
        event["diagnostic"] = text
    if timestamp := message.get("updatedDatetime") or message.get("createdDatetime"):
        event["occurred_at"] = utc_time(timestamp)
    yield event


def _report_events(report: Mapping[str, str], shared: EventFields) -> Iterator[EventFields]:
    """Yield the event of a status report; none for an incoming message."""
    get = report.get
    word = get("status", "").lower()
    message_id = get("id")
    if message_id and not word and "body" in report:
        return
    if not word or not message_id:
        raise UnreadableError("a MessageBird report names id and status")

    code = "" if get("statusErrorCode", "") in NO_ERROR_CODES else get("statusErrorCode", "")
    reason = get("statusReason", "")
    # "Pending DLR" beside `buffered` is no failure.
    kind = explained_kind(STATUS_KINDS.get(word), reason.lower().replace("_", " "), REASON_KINDS)
    kind = explained_kind(kind, code, ERROR_KINDS)
    if kind is None:
        raise UnreadableError(f"MessageBird status {word[:60]!r} is not known")
    event: EventFields = {
        **shared,
        **echoed_texts(report),
        **reference_metadata(get("reference")),
        **part_count(get("messagePartCount")),
        "kind": kind,
        "recipient": international_number(get("recipient", "")),
        "provider_message_id": message_id,
        "label": word,
    }
    if code:
        event["reason_code"] = code
    if reason:
        event["diagnostic"] = reason
    if timestamp := get("statusDatetime"):
        # The + of a zone is lost if a sender leaves it unescaped.
        event["occurred_at"] = utc_time(
            timestamp.replace(" ", "+") if "T" in timestamp else timestamp
        )
    yield event
