"""Vonage: delivery receipts of the SMS API (query, form or JSON) and statuses of the Messages API.

The error code decides before the status word. In a receipt `msisdn` is the recipient and `to` the
sender; each segment of a long SMS has a receipt and an id of its own. Times of receipts are UTC
without saying so (`scts` is local, and not read). The mailer's ids come back in the client
reference. Sources: Vonage's docs, "SMS delivery receipts" and "Messages API" (status webhook), with
the error tables of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from typing_extensions import TypedDict

from schemas.providers import UnreadableError
from schemas.providers._common import (
    OURS,
    called_back,
    echo,
    form,
    international,
    parts,
    reader,
    reference,
    utc,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, Fields

PROVIDER: Final = "vonage"
CHANNEL: Final[Channel] = "sms"

STATUSES: Final = {
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

#: Codes that say more than the status word; for all others, as 1 "unknown", the word stands.
RECEIPT_ERRORS: Final = {
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
MESSAGES_ERRORS: Final = {
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
#: Words of the Messages API that leave nothing to an error: its reference shows one beside them.
SETTLED: Final = frozenset({"delivered", "read"})
NO_ERROR: Final = frozenset({"", "0", "000"})
FORM: Final = OURS | {
    "msisdn", "messageId", "status", "err-code", "message-timestamp", "client-ref",
}  # fmt: skip

Word: TypeAlias = str | int | None


class _Address(TypedDict, total=False):
    """A recipient as older versions of the Messages API write it."""

    number: str | None


class _Error(TypedDict, total=False):
    """What went wrong; older versions of the Messages API write `code` and `reason`."""

    type: str | None
    title: Word
    detail: str | None
    code: Word
    reason: str | None


class _Sms(TypedDict, total=False):
    count_total: Word


#: Both kinds of notification; a receipt has `msisdn`, a status `message_uuid`.
_Push = TypedDict(
    "_Push",
    {
        "status": str | None,
        "msisdn": Word,
        "messageId": str | None,
        "err-code": Word,
        "message-timestamp": str | None,
        "client-ref": Word,
        "message_uuid": str | None,
        "to": str | int | _Address | None,
        "timestamp": object,
        "client_ref": Word,
        "error": _Error | None,
        "sms": _Sms | None,
    },
    total=False,
)
_push: Final = reader(_Push)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields]:
    """Yield the event of one receipt or status; see `schemas.providers.Adapter`."""
    ours = called_back(headers)
    if payload.lstrip()[:1] != b"{":
        body = form(payload.decode("utf-8", "replace").removeprefix("?"), FORM)
        ours.update(echo(body))
        yield from _receipt(body, ours)
        return
    push: _Push = _push(payload)
    if push.get("message_uuid"):
        yield from _status(push, ours)
        return
    names = ("status", "msisdn", "messageId", "err-code", "message-timestamp", "client-ref")
    yield from _receipt({name: str(push.get(name) or "") for name in names}, ours)


def _receipt(body: Mapping[str, str], ours: Fields) -> Iterator[Fields]:
    """Yield the event of a delivery receipt; a message that came in has no status."""
    word = body.get("status", "").lower()
    message_id = body.get("messageId")
    if not word and body.get("msisdn") and message_id:
        return
    if not word or not message_id:
        raise UnreadableError("a Vonage receipt names messageId and status")
    code = body.get("err-code", "")
    event = _event(word, code, RECEIPT_ERRORS)
    event |= ours | reference(body.get("client-ref"))
    event["recipient"] = international(body.get("msisdn", ""))
    event["provider_message_id"] = message_id
    if timestamp := body.get("message-timestamp"):
        event["occurred_at"] = utc(timestamp.replace(" +", "+"))
    yield event


def _status(push: _Push, ours: Fields) -> Iterator[Fields]:
    """Yield the event of a Messages API status; a message that came in has none."""
    word = (push.get("status") or "").lower()
    if not word:
        return
    error = push.get("error") or _Error()
    event = _event(word, _code(error), {} if word in SETTLED else MESSAGES_ERRORS)
    event |= ours | reference(_text(push.get("client_ref")))
    event |= parts((push.get("sms") or _Sms()).get("count_total"))
    to = push.get("to")
    number = to.get("number") if isinstance(to, dict) else _text(to)
    event["recipient"] = international(number or "")
    event["provider_message_id"] = push.get("message_uuid") or ""
    # An object where there is none: older versions of the API write {}.
    if isinstance(timestamp := push.get("timestamp"), str) and timestamp:
        event["occurred_at"] = utc(timestamp.replace(" +", "+"))
    if detail := error.get("detail") or error.get("reason"):
        event["diagnostic"] = detail
    yield event


def _event(word: str, code: str, errors: Mapping[str, str]) -> Fields:
    """Return the kind of an event with what it rests on."""
    code = "" if code in NO_ERROR else code
    kind = errors.get(code) or STATUSES.get(word)
    if kind is None:
        raise UnreadableError(f"Vonage status {word[:60]!r} is not known")
    event: Fields = {"kind": kind, "label": word}
    if code:
        event["reason_code"] = code
    return event


def _code(error: _Error) -> str:
    """Return the number of an error: its code or title, or what its type's address ends in."""
    title = _text(error.get("title"))
    for number in (_text(error.get("code")), title):
        if number.isdecimal():
            return number
    number = (error.get("type") or "").rpartition("#")[2]
    return number if number.isdecimal() else title


def _text(value: object) -> str:
    return "" if value is None else str(value)
