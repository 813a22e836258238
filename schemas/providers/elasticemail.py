"""Elastic Email: one event in each callback, as the query of a GET, a form or a JSON object.

`Sent` is what follows an attempt that succeeded, so the receiving server has the message. `Error`
is final, after up to 48 hours of attempts, and its category says why. The sender's own reference is
`postback`. Sources: Elastic Email's help, "Notification settings" and "What are the bounce error
categories and filters"; its API reference, `MessageCategory`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from schemas.addresses import bare_address
from schemas.providers._common import (
    callback_metadata,
    limited_tags,
    non_empty,
    reference_metadata,
    unknown_event,
)
from schemas.providers._forms import text_fields
from schemas.providers._tells import Tells
from schemas.providers._times import reported_time, utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from schemas.events import BounceClass, Channel, EventFields

PROVIDER: Final = "elasticemail"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`postback`", opens="unmarked")

#: By status, in lower case.
STATUS_KINDS: Final = {
    "sent": "delivery",
    "opened": "open",
    "clicked": "click",
    "error": "bounce",
    "bounce": "bounce",
    "abusereport": "complaint",
    "unsubscribed": "unsubscribe",
}
#: Categories of errors that are no reply of a server: the address is on Elastic Email's own list,
#: or the message was cancelled, here or after two days. In lower case.
CATEGORY_KINDS: Final = {
    "ignore": "invalid",
    "notdelivered": "invalid",
    "notdeliveredcancelled": "failure",
    "suppressed": "failure",
    "manualcancel": "failure",
}
CATEGORY_CLASSES: Final[Mapping[str, BounceClass]] = {
    "nomailbox": "hard",
    "accountproblem": "soft",
    "codeerror": "soft",
    "connectionproblem": "soft",
    "connectionterminated": "soft",
    "dnsproblem": "soft",
    "greylisted": "soft",
    "throttled": "soft",
    "timeout": "soft",
    "blacklisted": "block",
    "contentfilter": "block",
    "spam": "block",
    "spfproblem": "block",
    "whitelistingproblem": "block",
}
FIELDS: Final = frozenset(
    {
        "status", "to", "date", "subject", "channel", "category", "messageid", "transaction",
        "target", "postback",
    }
)  # fmt: skip
#: A time as .NET writes it, in UTC: "5/6/2025 7:10:11 AM". Any other is ISO 8601.
_DOTNET_TIME: Final = re.compile(
    r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) ([0-9]{1,2}):([0-9]{2}:[0-9]{2}) ([AP])M"
)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the event of one callback; see `schemas.providers.Adapter`."""
    body = text_fields(payload, FIELDS)
    word = body.get("status", "")
    kind = STATUS_KINDS.get(word.lower())
    if kind is None:
        raise unknown_event("Elastic Email", word, "status")
    category = body.get("category", "")
    if kind == "bounce":
        kind = CATEGORY_KINDS.get(category.lower(), kind)
    fields: EventFields = {
        "provider_message_id": body.get("messageid") or body.get("transaction", ""),
        "subject": body.get("subject", ""),
        "url": body.get("target", ""),
        "reason_code": category,
        "tags": limited_tags([body.get("channel")]),
    }
    reference = reference_metadata(body.get("postback"))
    yield {
        "kind": kind,
        "recipient": bare_address(body.get("to", "")),
        "label": category or word,
        **callback_metadata(headers),
        **non_empty(fields),
        **reference,
        **reported_time(body.get("date"), _time),
    }


def _time(text: str) -> datetime:
    if match := _DOTNET_TIME.fullmatch(text):
        month, day, year, hour, rest, half = match.groups()
        hours = int(hour) % 12 + (12 if half == "P" else 0)
        text = f"{year}-{month:0>2}-{day:0>2}T{hours:02}:{rest}"
    return utc_time(text)


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return CATEGORY_CLASSES.get(bounce.get("label", "").lower())
