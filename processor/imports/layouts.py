"""The layouts of exports that are not what the provider pushes, as data.

A row becomes the webhook that the provider would have sent, so that the one adapter reads it. Names
of columns and members are compared in lower case, without what is neither letter nor digit.

Sources: Twilio SendGrid's docs, "Email Activity API" (the Feed's CSV has its fields by shorter
names, which no page lists); Twilio's docs, "Message resource" and "BulkExport", and the header of
its console's CSV; Postmark's developer docs, "Messages API" (message events).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from schemas.events import MAX_EVENT_TIME, MIN_EVENT_TIME, milliseconds
from schemas.providers import UnreadableError
from schemas.providers._times import epoch_time

_EPOCH: Final = re.compile(r"\d{9,13}(?:\.\d+)?")
_NO_NAME: Final = re.compile(r"[^a-z0-9]+")


def plain_name(name: str) -> str:
    """Return a column's or member's name as it is compared."""
    return _NO_NAME.sub("", name.lower())


def epoch_seconds(at: datetime) -> float:
    """Return a time in seconds since 1970."""
    return milliseconds(at) / 1000


def json_bytes(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def form_bytes(body: Mapping[str, Any]) -> bytes:
    """Return a body as a form."""
    return urlencode(body).encode()


class LeaveOut(NamedTuple):
    """Rows that are left out: those whose column has this in it, and why."""

    column: str
    pattern: re.Pattern[str]
    why: str


@dataclass(frozen=True, kw_only=True)
class RowLayout:
    """How a row becomes a webhook: members by column, and the webhook's words for its own.

    A row is of this layout if it has one of each of `marks`. `times` are columns with the row's
    time, the first that is not empty counts; it becomes `time_member`, as `time_form` gives it, or
    only the time at which the webhook came. Members may be paths with dots; `fixed` are those that
    all rows have.
    """

    marks: Sequence[frozenset[str]]
    columns: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    times: tuple[str, ...]
    time_member: str = ""
    time_form: Callable[[datetime], Any] = epoch_seconds
    fixed: Mapping[str, Any] = field(default_factory=dict)
    json_columns: frozenset[str] = frozenset()
    left_out: Sequence[LeaveOut] = ()
    encode: Callable[[Mapping[str, Any]], bytes]


_SENDGRID: Final = RowLayout(
    marks=(frozenset({"event"}), frozenset({"email"}), frozenset({"processed"})),
    columns={
        "email": "email", "event": "event", "messageid": "sg_message_id", "reason": "reason",
        "url": "url", "useragent": "useragent", "originatingip": "ip", "type": "type",
        "categories": "category", "marketingcampaignname": "marketing_campaign_name",
        "uniqueargs": "unique_args",
    },
    words={
        "event": {
            "bounced": "bounce", "opened": "open", "clicked": "click", "drop": "dropped",
            "spam_report": "spamreport", "spam report": "spamreport",
        },
        "type": {"hard": "bounce", "soft": "blocked"},
    },
    times=("processed",),
    time_member="timestamp",
    json_columns=frozenset({"uniqueargs", "categories"}),
    encode=json_bytes,
)  # fmt: skip
_TWILIO: Final = RowLayout(
    marks=(frozenset({"sid"}), frozenset({"to"}), frozenset({"status"})),
    columns={
        "sid": "MessageSid", "to": "To", "status": "MessageStatus", "errorcode": "ErrorCode",
        "errormessage": "ErrorMessage",
    },
    times=("dateupdated", "datesent", "sentdate", "datecreated"),
    left_out=(LeaveOut("direction", re.compile("inbound"), "incoming messages"),),
    encode=form_bytes,
)  # fmt: skip
#: The layouts of the rows of each provider, of CSV and of its API's JSON.
ROW_LAYOUTS: Final[Mapping[str, RowLayout]] = {"sendgrid": _SENDGRID, "twilio": _TWILIO}
#: Members of a provider's API that hold a list of rows, or of payloads as they are pushed; with
#: what each element has that the list may leave out.
LIST_MEMBERS: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "mailgun": {"items": {}},
    "postmark": {
        "Bounces": {"RecordType": "Bounce"},
        "Opens": {"RecordType": "Open"},
        "Clicks": {"RecordType": "Click"},
    },
    "sendgrid": {"messages": {}},
    "twilio": {"messages": {}},
}
_POSTMARK_EVENTS: Final = "MessageEvents"
#: Postmark's message events as records of its webhooks: the record type, its time, its address.
_POSTMARK_RECORDS: Final = {
    "Delivered": ("Delivery", "DeliveredAt", "Recipient", {}),
    "Transient": ("Bounce", "BouncedAt", "Email", {"Type": "Transient"}),
    "Bounced": ("Bounce", "BouncedAt", "Email", {"Type": "Unknown"}),
    "Opened": ("Open", "ReceivedAt", "Recipient", {}),
    "LinkClicked": ("Click", "ReceivedAt", "Recipient", {}),
    "SubscriptionChanged": ("SubscriptionChange", "ChangedAt", "Recipient", {}),
}
_POSTMARK_DETAILS: Final = {
    "DeliveryMessage": "Details", "Summary": "Details", "BounceID": "ID", "Link": "OriginalLink",
    "Origin": "Origin", "SuppressSending": "SuppressSending",
}  # fmt: skip


@dataclass(frozen=True)
class ConvertedRow:
    """A row as a webhook, and when that came; None if the webhook says it itself."""

    payload: bytes
    recorded_ms: int | None = None


def row_layout(layout: RowLayout | None, names: Iterable[str]) -> RowLayout | None:
    """Return a layout if rows with these columns are of it."""
    plain = set(map(plain_name, names))
    return layout if layout and all(mark & plain for mark in layout.marks) else None


def convert_row(layout: RowLayout, row: Mapping[str, Any]) -> ConvertedRow | str:
    """Return a row as a webhook, or why it is left out. Raises `UnreadableError`."""
    values = {plain_name(name): value for name, value in row.items() if value not in ("", None)}
    for rule in layout.left_out:
        if rule.pattern.search(str(values.get(rule.column, ""))):
            return rule.why
    time = next((values[name] for name in layout.times if name in values), None)
    if time is None:
        raise UnreadableError(f"no {' or '.join(layout.times)}: its time is not known")
    at = export_time(str(time))
    body: dict[str, Any] = {}
    for name, value in layout.fixed.items():
        _put(body, name, value)
    for name, member in layout.columns.items():
        if name in values:
            _put(body, member, _cell(layout, name, member, values[name]))
    if not layout.time_member:
        return ConvertedRow(layout.encode(body), milliseconds(at))
    _put(body, layout.time_member, layout.time_form(at))
    return ConvertedRow(layout.encode(body))


def _cell(layout: RowLayout, column: str, member: str, value: Any) -> Any:
    if column in layout.json_columns and isinstance(value, str):
        return _parsed(value)
    words = layout.words.get(member)
    return words.get(str(value).strip().lower(), value) if words else value


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a path with dots. Raises `UnreadableError` if another value is in its way."""
    *names, last = path.split(".")
    place = body
    for name in names:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            raise UnreadableError(f"column {path!r} is within another column")
    place[last] = value


def sendgrid_message_rows(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a message of the Email Activity API as rows."""
    for event in message["events"]:
        yield {
            "email": message.get("to_email"), "message_id": message.get("msg_id"),
            "categories": message.get("categories"), "unique_args": message.get("unique_args"),
            **event,
            "event": event.get("event_name"), "user_agent": event.get("http_user_agent"),
            "type": event.get("bounce_type"),
        }  # fmt: skip


def postmark_message_payloads(message: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the events of a message of the Messages API as records of webhooks.

    Raises `UnreadableError` for a type that is not known.
    """
    shared = {name: message[name] for name in ("MessageID", "Metadata", "Tag", "Subject")
              if message.get(name)}  # fmt: skip
    for event in message[_POSTMARK_EVENTS]:
        word = str(event.get("Type") or "")
        if word not in _POSTMARK_RECORDS:
            raise UnreadableError(f"Postmark message event {word[:60]!r} is not known")
        record_type, time, address, fixed = _POSTMARK_RECORDS[word]
        details = {
            member: event["Details"][name]
            for name, member in _POSTMARK_DETAILS.items()
            if (event.get("Details") or {}).get(name)
        }
        if "SuppressSending" in details:
            details["SuppressSending"] = str(details["SuppressSending"]).lower() == "true"
        yield json_bytes(
            {"RecordType": record_type, **shared, **details, **fixed,
             address: event.get("Recipient"), time: event.get("ReceivedAt")}
        )  # fmt: skip


def is_postmark_message(value: Mapping[str, Any]) -> bool:
    """Tell whether a value is a message of Postmark's Messages API, with its events."""
    return isinstance(value.get(_POSTMARK_EVENTS), list)


def is_sendgrid_message(value: Mapping[str, Any]) -> bool:
    """Tell whether a value is a message of SendGrid's Email Activity API, with its events."""
    return isinstance(value.get("events"), list) and "msg_id" in value


def nested(row: Mapping[str, str]) -> dict[str, Any]:
    """Return a row whose columns are paths with dots as the object that it was flattened from."""
    body: dict[str, Any] = {}
    for name, text in row.items():
        if text:
            _put(body, name, _parsed(text))
    return body


def export_time(text: str) -> datetime:
    """Return a time of an export as UTC: ISO 8601, RFC 2822, a count since 1970, or as Go has it.

    One without a zone is UTC, as these providers document. Raises `UnreadableError`.
    """
    text = text.strip()
    if _EPOCH.fullmatch(text):
        return epoch_time(text)
    for read in (_iso_time, parsedate_to_datetime, _named_zone_time):
        try:
            time = read(text)
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        except (OverflowError, TypeError, ValueError):
            continue
        if not MIN_EVENT_TIME <= time < MAX_EVENT_TIME:
            raise UnreadableError(f"time {text[:40]!r} is outside 1990 to 2099")
        return time
    raise UnreadableError(f"time {text[:40]!r} is neither ISO 8601 nor RFC 2822")


def _iso_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _named_zone_time(text: str) -> datetime:
    """Read "2025-05-06 07:10:11 UTC", or with "+0000 UTC" as programs in Go print it."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?)(?: \+0000)? (?:UTC|GMT|Z)", text
    )
    if match is None:
        raise ValueError
    return datetime.fromisoformat(match[1]).replace(tzinfo=UTC)


def _parsed(text: str) -> Any:
    """Return what a cell holds: JSON of an object, a list or a truth value, else its text."""
    if text[:1] in "[{" or text.lower() in ("true", "false"):
        try:
            return json.loads(text if text[:1] in "[{" else text.lower())
        except (RecursionError, ValueError):
            return text
    return text
