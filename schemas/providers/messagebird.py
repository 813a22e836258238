"""MessageBird: SMS status reports (a query), one event for each recipient and status.

The error code decides before the reason, and the reason before the status word; most reports have
no code. The mailer's ids come back in `reference`, or as parameters of the report's address.
Sources: MessageBird's docs, "SMS API: status reports", "SMS errors" and "SMS platform extended
error codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.providers import UnreadableError
from schemas.providers._common import (
    OURS,
    called_back,
    echo,
    form,
    international,
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
NO_ERROR: Final = frozenset({"", "0"})
FORM: Final = OURS | {
    "id", "reference", "recipient", "status", "statusDatetime", "statusReason", "statusErrorCode",
    "messagePartCount", "originator", "body",
}  # fmt: skip


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields]:
    """Yield the event of one report; see `schemas.providers.Adapter`."""
    report = form(payload.decode("utf-8", "replace").removeprefix("?"), FORM)
    get = report.get
    word = get("status", "").lower()
    message_id = get("id")
    if message_id and not word and "body" in report:
        return  # a message that came in
    if not word or not message_id:
        raise UnreadableError("a MessageBird report names id and status")

    code = "" if get("statusErrorCode", "") in NO_ERROR else get("statusErrorCode", "")
    reason = get("statusReason", "")
    kind = None if word in SETTLED else ERRORS.get(code) or REASONS.get(reason.lower())
    kind = kind or STATUSES.get(word)
    if kind is None:
        raise UnreadableError(f"MessageBird status {word[:60]!r} is not known")
    event: Fields = {
        **called_back(headers),
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
