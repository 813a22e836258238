"""Vonage: delivery receipts of the SMS API (query, form or JSON) and statuses of the Messages API.

The error code decides what a failure is: beside another word it is about an attempt that Vonage
repeats, or a note. In a receipt `msisdn` is the recipient and `to` the
sender; each segment of a long SMS has a receipt and an id of its own. Times of receipts are UTC
without a zone (`scts` is local, and not read). The mailer's metadata comes back in the client
reference. Sources: Vonage's docs, "SMS delivery receipts" and "Messages API" (status webhook), with
the error tables of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from typing_extensions import TypedDict

from schemas.providers._common import (
    METADATA_FIELDS,
    callback_metadata,
    channel_label,
    echoed_texts,
    explained_kind,
    form_fields,
    international_number,
    part_count,
    reader,
    reference_metadata,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields

PROVIDER: Final = "vonage"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="`client-ref`, query")

STATUS_KINDS: Final = {
    # Receipts
    "accepted": "sent",
    "buffered": "sent",
    "delivered": "delivery",
    "expired": "expired",
    "failed": "failed",
    "rejected": "rejected",
    "unknown": "unknown",
    # Messages API
    "submitted": "sent",
    "read": "read",
    "undeliverable": "undelivered",
}

#: Codes that say more than a word of failure; for all others, as 1 "unknown", the word counts.
RECEIPT_ERROR_KINDS: Final = {
    code: kind
    for kind, codes in {
        "opt_out": ["9"],
        "undelivered": [
            "2", "3", "4", "7",              # absent for now or for good, barred, busy
            "5", "11", "12", "14", "15",     # ported, no route, blocked line, no credit on it
        ],
        "rejected": ["6", "13", "50", "51", "52", "53", "54"],  # spam, age, filters
        "failed": ["8", "10", "16", "99"],   # network, message malformed, quota, general
    }.items()
    for code in codes
}  # fmt: skip
MESSAGES_ERROR_KINDS: Final = {
    code: kind
    for kind, codes in {
        "opt_out": ["1240"],
        "undelivered": [
            "1170", "1180", "1190", "1200", "1220",  # number invalid, absent, barred, busy
            "1250", "1260", "1280", "1290",          # no route, blocked line, no credit on it
            "1300", "1310", "1430",                  # not of the network, device, number unsuitable
        ],
        "rejected": [
            "1050", "1210", "1270", "1282",          # number barred, spam, age, provider
            "1460", "1461",                          # daily limit, too many for one recipient
            "1470", "1471", "1472", "1473",          # fraud protection
            "1480", "1481", "1482", "1483", "1484",  # filters and regulation
        ],
        "expired": ["1360"],
        "failed": [
            "1000", "1010", "1020", "1021", "1022",  # throttled, parameters
            "1030", "1040", "1060", "1070", "1080",  # internal, message invalid, account, quota
            "1090", "1100", "1110", "1120", "1130",  # length, signature, sender
            "1140", "1150", "1160", "1230", "1320",  # facility, class, trial account, network
            "1331", "1340", "1350", "1370", "1380",  # provider, window, fee, access, media
            "1381", "1382", "1400", "1410", "1420",  # media, channel, sender
            "1440", "1450", "1451",                  # message type, references
        ],
    }.items()
    for code in codes
}  # fmt: skip
#: The channel of the Messages API whose recipients have no number.
ID_CHANNEL: Final = "messenger"
NO_ERROR_CODES: Final = frozenset({"", "0", "000"})
FORM_FIELDS: Final = METADATA_FIELDS | {
    "msisdn", "messageId", "status", "err-code", "message-timestamp", "client-ref",
}  # fmt: skip

TextOrNumber: TypeAlias = str | int | None


class _Address(TypedDict, total=False):
    """A recipient as older versions of the Messages API write it: a number, or a Messenger's id."""

    type: str | None
    number: str | None
    id: str | None


class _Error(TypedDict, total=False):
    """An error; older versions of the Messages API write `code` and `reason`."""

    type: str | None
    title: TextOrNumber
    detail: str | None
    code: TextOrNumber
    reason: str | None


class _Sms(TypedDict, total=False):
    count_total: TextOrNumber


#: Both kinds of notification; a receipt has `msisdn`, a status `message_uuid`.
_Push = TypedDict(
    "_Push",
    {
        "status": str | None,
        "msisdn": TextOrNumber,
        "messageId": str | None,
        "err-code": TextOrNumber,
        "message-timestamp": str | None,
        "client-ref": TextOrNumber,
        "message_uuid": str | None,
        "to": str | int | _Address | None,
        "channel": str | None,
        "timestamp": object,
        "client_ref": TextOrNumber,
        "error": _Error | None,
        "sms": _Sms | None,
    },
    total=False,
)
_read_push: Final = reader(_Push)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the event of one receipt or status; see `schemas.providers.Adapter`."""
    metadata = callback_metadata(headers)
    if payload.lstrip()[:1] != b"{":
        body = form_fields(payload.decode("utf-8", "replace").removeprefix("?"), FORM_FIELDS)
        metadata.update(echoed_texts(body))
        yield from _receipt_events(body, metadata)
        return
    push: _Push = _read_push(payload)
    if push.get("message_uuid"):
        yield from _status_events(push, metadata)
        return
    names = ("status", "msisdn", "messageId", "err-code", "message-timestamp", "client-ref")
    yield from _receipt_events({name: str(push.get(name) or "") for name in names}, metadata)


def _receipt_events(body: Mapping[str, str], metadata: EventFields) -> Iterator[EventFields]:
    """Yield the event of a delivery receipt; an incoming message has no status."""
    word = body.get("status", "").lower()
    message_id = body.get("messageId")
    if not word and body.get("msisdn") and message_id:
        return
    if not word or not message_id:
        raise UnreadableError("a Vonage receipt names messageId and status")
    code = body.get("err-code", "")
    event = _status_fields(word, code, RECEIPT_ERROR_KINDS)
    event |= metadata | reference_metadata(body.get("client-ref"))
    event["recipient"] = international_number(body.get("msisdn", ""))
    event["provider_message_id"] = message_id
    if timestamp := body.get("message-timestamp"):
        event["occurred_at"] = utc_time(timestamp.replace(" +", "+"))
    yield event


def _status_events(push: _Push, metadata: EventFields) -> Iterator[EventFields]:
    """Yield the event of a Messages API status; an incoming message has none."""
    word = (push.get("status") or "").lower()
    if not word:
        return
    error = push.get("error") or _Error()
    event = _status_fields(word, _error_code(error), MESSAGES_ERROR_KINDS)
    event |= metadata | reference_metadata(_text(push.get("client_ref")))
    event |= part_count((push.get("sms") or _Sms()).get("count_total"))
    channel = push.get("channel") or ""
    event["label"] = channel_label(word, channel)
    event["recipient"] = _recipient(push.get("to"), channel)
    event["provider_message_id"] = push.get("message_uuid") or ""
    # Older versions of the API write {} if there is none.
    if isinstance(timestamp := push.get("timestamp"), str) and timestamp:
        event["occurred_at"] = utc_time(timestamp.replace(" +", "+"))
    if detail := error.get("detail") or error.get("reason"):
        event["diagnostic"] = detail
    yield event


def _recipient(to: str | int | _Address | None, channel: str) -> str:
    """Return a number, or an id with the name of its channel: its digits are no number."""
    if not isinstance(to, dict):
        text = _text(to)
    elif text := to.get("number") or "":
        return international_number(text)
    else:
        text, channel = to.get("id") or "", to.get("type") or channel
    return f"{channel}:{text}" if text and channel == ID_CHANNEL else international_number(text)


def _status_fields(word: str, code: str, errors: Mapping[str, str]) -> EventFields:
    """Return the kind of a status, with its word and error code."""
    code = "" if code in NO_ERROR_CODES else code
    kind = explained_kind(STATUS_KINDS.get(word), code, errors)
    if kind is None:
        raise UnreadableError(f"Vonage status {word[:60]!r} is not known")
    event: EventFields = {"kind": kind, "label": word}
    if code:
        event["reason_code"] = code
    return event


def _error_code(error: _Error) -> str:
    """Return the number of an error: its code, its title, or the end of its type's address."""
    title = _text(error.get("title"))
    for number in (_text(error.get("code")), title):
        if number.isdecimal():
            return number
    number = (error.get("type") or "").rpartition("#")[2]
    return number if number.isdecimal() else title


def _text(value: object) -> str:
    return "" if value is None else str(value)
