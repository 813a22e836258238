"""Plivo: message status callbacks (a form or a query), one event for each status of each segment.

The error code decides what a failure is. Plivo writes the time of each stage, in UTC without a
zone; that of the current status counts. Segments of a long SMS have ids of their own and share
`ParentMessageUUID`. The mailer's metadata comes back as parameters of the callback's address.
Sources: Plivo's docs, "Message status callbacks" and "Messaging error codes".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from schemas.providers._common import (
    METADATA_FIELDS,
    callback_metadata,
    echoed_texts,
    explained_kind,
    form_fields,
    international_number,
    part_count,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields

PROVIDER: Final = "plivo"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="query")

STATUS_KINDS: Final = {
    "queued": "queued",
    "sent": "sent",
    "delivered": "delivery",
    "read": "read",
    "undelivered": "undelivered",
    "failed": "failed",
    "rejected": "rejected",
}
#: The fields with the time of a status; for all others it is the delivery report's.
TIME_FIELDS: Final = {"queued": "QueuedTime", "sent": "SentTime"}
REPORT_TIME_FIELD: Final = "DeliveryReportTime"
IGNORED_STATUSES: Final = frozenset({"received"})

#: Codes that say more than a word of failure; for all others, as 1000 "unknown", the word counts.
ERROR_KINDS: Final = {
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
FORM_FIELDS: Final = METADATA_FIELDS | {
    "MessageUUID", "ParentMessageUUID", "Status", "To", "ErrorCode", "PartInfo",
    "Units", "QueuedTime", "SentTime", REPORT_TIME_FIELD, "Text",
}  # fmt: skip
_PART: Final = re.compile(r"([1-9][0-9]{0,3}) of ([1-9][0-9]{0,3})")


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the event of one callback; see `schemas.providers.Adapter`."""
    body = form_fields(payload.decode("utf-8", "replace").removeprefix("?"), FORM_FIELDS)
    get = body.get
    word = get("Status", "").lower()
    message_id = get("ParentMessageUUID") or get("MessageUUID")
    if word in IGNORED_STATUSES or (message_id and not word and "Text" in body):
        return
    if not word or not message_id:
        raise UnreadableError("a Plivo callback names MessageUUID and Status")

    code = get("ErrorCode", "")
    error = code.lstrip("0")
    kind = explained_kind(STATUS_KINDS.get(word), error, ERROR_KINDS)
    if kind is None:
        raise UnreadableError(f"Plivo message status {word[:60]!r} is not known")
    event: EventFields = {
        **callback_metadata(headers),
        **echoed_texts(body),
        **part_count(get("Units")),
        "kind": kind,
        "recipient": international_number(get("To", "")),
        "provider_message_id": message_id,
        "label": word,
    }
    if error:
        event["reason_code"] = code
    if timestamp := get(TIME_FIELDS.get(word, REPORT_TIME_FIELD)):
        event["occurred_at"] = utc_time(timestamp)
    if part := _PART.fullmatch(get("PartInfo", "")):
        event["part"], event["parts"] = int(part[1]), int(part[2])
    yield event
