"""Plivo: message status callbacks (a form or a query), one event for each status of each segment.

The error code decides before the status word. Plivo writes the time of each stage; the one of the
status reached counts, in UTC without saying so. Segments of a long SMS have ids of their own and
share `ParentMessageUUID`. The mailer's ids come back as parameters of the callback's address.
Sources: Plivo's docs, "Message status callbacks" and "Messaging error codes".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from schemas.providers import UnreadableError
from schemas.providers._common import (
    OURS,
    called_back,
    echo,
    form,
    international,
    parts,
    utc,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, Fields

PROVIDER: Final = "plivo"
CHANNEL: Final[Channel] = "sms"

STATUSES: Final = {
    "queued": "queued",
    "sent": "sent",
    "delivered": "delivery",
    "read": "read",
    "undelivered": "undelivered",
    "failed": "failed",
    "rejected": "rejected",
}
#: Where the time of a status is; of all others in the delivery report's.
TIMES: Final = {"queued": "QueuedTime", "sent": "SentTime"}
REPORT_TIME: Final = "DeliveryReportTime"
NOT_OURS: Final = frozenset({"received"})

#: Codes that say more than the status word; for all others, as 1000 "unknown", the word stands.
ERRORS: Final = {
    code: kind
    for kind, codes in {
        "opt_out": ["200"],
        "undelivered": ["50", "70", "80", "90"],  # number invalid, unavailable, no route
        "rejected": ["10", "30", "100"],          # content, spam or service refused by the carrier
        "expired": ["420"],
        "failed": [
            "20", "40", "60", "110",              # network, sender, loop, length
            "201", "300", "450",                  # to Canada, not dispatched, country not enabled
            "900", "910",                         # credit, account
        ],
    }.items()
    for code in codes
}  # fmt: skip
FORM: Final = OURS | {
    "MessageUUID", "ParentMessageUUID", "Status", "To", "ErrorCode", "PartInfo",
    "Units", "QueuedTime", "SentTime", REPORT_TIME, "Text",
}  # fmt: skip
_PART: Final = re.compile(r"([1-9][0-9]{0,3}) of ([1-9][0-9]{0,3})")


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields]:
    """Yield the event of one callback; see `schemas.providers.Adapter`."""
    body = form(payload.decode("utf-8", "replace").removeprefix("?"), FORM)
    get = body.get
    word = get("Status", "").lower()
    message_id = get("ParentMessageUUID") or get("MessageUUID")
    if word in NOT_OURS or (message_id and not word and "Text" in body):
        return
    if not word or not message_id:
        raise UnreadableError("a Plivo callback names MessageUUID and Status")

    code = get("ErrorCode", "")
    significant = code.lstrip("0")
    kind = ERRORS.get(significant) or STATUSES.get(word)
    if kind is None:
        raise UnreadableError(f"Plivo message status {word[:60]!r} is not known")
    event: Fields = {
        **called_back(headers),
        **echo(body),
        **parts(get("Units")),
        "kind": kind,
        "recipient": international(get("To", "")),
        "provider_message_id": message_id,
        "label": word,
    }
    if significant:
        event["reason_code"] = code
    if timestamp := get(TIMES.get(word, REPORT_TIME)):
        event["occurred_at"] = utc(timestamp)
    if part := _PART.fullmatch(get("PartInfo", "")):
        event["part"], event["parts"] = int(part[1]), int(part[2])
    yield event
