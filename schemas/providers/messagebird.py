"""MessageBird: SMS status reports (a query, a form or JSON), and messages of the Conversations API.

Of a report, the error code decides before the reason, and the reason before the status word; most
have no code. The mailer's ids come back in `reference`, or as parameters of the report's address;
of the Conversations API, in the message's `source`. Its error codes are those of all channels, and
no network's: its status word decides. Sources: MessageBird's docs, "SMS API: status reports", "SMS
errors", "SMS platform extended error codes" and "Conversations API: webhooks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from schemas.providers import UnreadableError
from schemas.providers._common import (
    OURS,
    called_back,
    echo,
    form,
    in_words,
    international,
    ours,
    parts,
    reference,
    utc,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, Fields

PROVIDER: Final = "messagebird"
CHANNEL: Final[Channel] = "sms"

STATUSES: Final = {
    "scheduled": "queued",
    "sent": "sent",
    "buffered": "sent",
    "delivered": "delivery",
    "expired": "expired",
    "delivery_failed": "failed",
}
#: Codes of the mobile network (GSM MAP) and MessageBird's own from 100.
ERRORS: Final = {
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
#: For all others, as "DLR not received", the word stands.
REASONS: Final = {
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
#: Words that leave nothing to a code or a reason: "pending DLR" explains `buffered`.
SETTLED: Final = frozenset({"scheduled", "sent", "buffered", "delivered"})
#: Statuses of a message of the Conversations API; `type` says what it tells.
CONVERSATION: Final = {
    "accepted": "queued",
    "pending": "queued",
    "transmitted": "sent",
    "sent": "sent",
    "delivered": "delivery",
    "read": "read",
    "failed": "failed",
    "rejected": "rejected",
}
MESSAGES: Final = frozenset({"message.created", "message.updated"})
NOT_OURS: Final = frozenset({"conversation.created", "conversation.updated"})
NO_ERROR: Final = frozenset({"", "0"})
FORM: Final = OURS | {
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


_json: Final = TypeAdapter(dict[str, object]).validator.validate_json
_message: Final = TypeAdapter(_Message).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields]:
    """Yield the event of one report; see `schemas.providers.Adapter`."""
    if payload.lstrip()[:1] != b"{":
        report = form(payload.decode("utf-8", "replace").removeprefix("?"), FORM)
        yield from _report(report, called_back(headers))
        return
    body = _json(payload)
    kind = in_words(body.get("type"))
    if kind in NOT_OURS:
        return
    if kind in MESSAGES:
        yield from _told(_message(body.get("message")), called_back(headers))
    elif kind:
        raise UnreadableError(f"MessageBird webhook type {kind[:60]!r} is not known")
    else:
        report = {name: in_words(value) for name, value in body.items() if name in FORM}
        yield from _report(report, called_back(headers))


def _told(message: _Message, shared: Fields) -> Iterator[Fields]:
    """Yield the event of a message of the Conversations API; a message that came in has none."""
    if message.get("direction") == "received":
        return
    word = (message.get("status") or "").lower()
    if word not in CONVERSATION:
        raise UnreadableError(f"MessageBird message status {word[:60]!r} is not known")
    if not (message_id := message.get("id")):
        raise UnreadableError("a MessageBird message names its id")
    error = message.get("error") or _Error()
    event: Fields = {
        **shared,
        **ours(message.get("source")),
        "kind": CONVERSATION[word],
        "recipient": international(str(message.get("to") or "")),
        "provider_message_id": message_id,
        "label": word,
    }
    if (code := str(error.get("code") or "")) not in NO_ERROR:
        event["reason_code"] = code
    if text := error.get("description"):
        event["diagnostic"] = text
    if timestamp := message.get("updatedDatetime") or message.get("createdDatetime"):
        event["occurred_at"] = utc(timestamp)
    yield event


def _report(report: Mapping[str, str], shared: Fields) -> Iterator[Fields]:
    """Yield the event of a status report; a message that came in has none."""
    get = report.get
    word = get("status", "").lower()
    message_id = get("id")
    if message_id and not word and "body" in report:
        return  # a message that came in
    if not word or not message_id:
        raise UnreadableError("a MessageBird report names id and status")

    code = "" if get("statusErrorCode", "") in NO_ERROR else get("statusErrorCode", "")
    reason = get("statusReason", "")
    kind = (
        None
        if word in SETTLED
        else ERRORS.get(code) or REASONS.get(reason.lower().replace("_", " "))
    )
    kind = kind or STATUSES.get(word)
    if kind is None:
        raise UnreadableError(f"MessageBird status {word[:60]!r} is not known")
    event: Fields = {
        **shared,
        **echo(report),
        **reference(get("reference")),
        **parts(get("messagePartCount")),
        "kind": kind,
        "recipient": international(get("recipient", "")),
        "provider_message_id": message_id,
        "label": word,
    }
    if code:
        event["reason_code"] = code
    if reason:
        event["diagnostic"] = reason
    if timestamp := get("statusDatetime"):
        # The + of a zone, lost where a sender left it unescaped.
        event["occurred_at"] = utc(timestamp.replace(" ", "+") if "T" in timestamp else timestamp)
    yield event
