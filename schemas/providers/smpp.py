"""SMPP: delivery receipts as a gateway hands them on, as text, as JSON, or as its own push.

The text has `id:… stat:… err:…` up to `text:`, after which nothing is the receipt's own. Fields of
the PDU come in the record headers `smpp-source-addr`, `smpp-source-addr-ton`, `smpp-esm-class`,
`smpp-message-state` and `smpp-receipted-message-id`, or as members of the JSON; the optional
parameters count before the text. The source address is the phone, `done date` is read as UTC.
`err` is the network's own code, and no two networks agree: the state decides. What Jasmin and
Kannel push instead of a receipt is in `_smpp_http`. Source: SMPP Protocol Specification v3.4
(5.2.12, 5.2.28, appendix B) and v5.0 (4.7.15).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from schemas.providers import UnreadableError
from schemas.providers._common import OURS, called_back, echo, epoch, form, in_words, international
from schemas.providers._smpp_http import COMMANDS, FIELDS, REPORTS, is_push, receipt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, Fields

PROVIDER: Final = "smpp"
CHANNEL: Final[Channel] = "sms"

STATES: Final = {
    0: "SCHEDULED",
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
    9: "SKIPPED",
}
STATUSES: Final = {
    "SCHEDULED": "queued",
    "ENROUTE": "sent",
    "ACCEPTD": "sent",
    "DELIVRD": "delivery",
    "EXPIRED": "expired",
    "DELETED": "failed",
    "SKIPPED": "failed",
    "UNDELIV": "undelivered",
    "REJECTD": "rejected",
    "UNKNOWN": "unknown",
    # Written out, as some message centres do.
    "ACCEPTED": "sent",
    "DELIVERED": "delivery",
    "UNDELIVERABLE": "undelivered",
    "UNDELIVERED": "undelivered",
    "REJECTED": "rejected",
    # Of gateways
    **COMMANDS,
    **REPORTS,
}
#: Bits of esm_class that hold the message type, and the types that are receipts.
TYPE_BITS: Final = 0x3C
RECEIPTS: Final = frozenset({0x04, 0x20})
INTERNATIONAL: Final = "1"

_TEXT: Final = re.compile(r"(?:^|\s)text:", re.IGNORECASE)
_FIELD: Final = re.compile(r"(?:^|\s)(id|done date|stat|err):\s?(\S*)", re.IGNORECASE)


class _Pdu(TypedDict, total=False):
    """The fields of a deliver_sm under their names in the specification."""

    short_message: str | None
    source_addr: str | int | None
    source_addr_ton: str | int | None
    esm_class: str | int | None
    message_state: str | int | None
    receipted_message_id: str | int | None


_pdu: Final = TypeAdapter(_Pdu).validator.validate_python
_json: Final = TypeAdapter(dict[str, object]).validator.validate_json
MEMBERS: Final = tuple(name for name in _Pdu.__annotations__ if name != "short_message")


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields]:
    """Yield the event of one receipt; see `schemas.providers.Adapter`."""
    text = payload.decode("utf-8", "replace")
    ours = called_back(headers)
    if text.startswith("{"):
        body = _json(payload)
        if {"message_status", "dlr"} & body.keys():
            yield from _pushed({name: in_words(value) for name, value in body.items()}, ours)
            return
        members: _Pdu = _pdu(body)
        text = members.get("short_message") or ""
    elif is_push(text):
        yield from _pushed(form(text.removeprefix("?"), FIELDS | OURS), ours)
        return
    else:
        members = {}
    pdu = {name: headers.get("smpp-" + name.replace("_", "-")) or "" for name in MEMBERS}
    pdu |= {
        name: str(value) for name, value in members.items() if name in pdu and value is not None
    }
    if pdu["esm_class"] and _number("esm_class", pdu) & TYPE_BITS not in RECEIPTS:
        return
    said = _said(text)
    said["stat"] = _state(pdu) or said.get("stat", "")
    said["id"] = pdu["receipted_message_id"].strip("\0 ") or said.get("id", "")
    number = pdu["source_addr"].strip("\0 ")
    if pdu["source_addr_ton"] == INTERNATIONAL:
        number = international(number)
    yield from _event(said, number, ours)


def _pushed(fields: Mapping[str, str], ours: Fields) -> Iterator[Fields]:
    """Yield the event of a gateway's push; a whole receipt within it says more than the push."""
    said = receipt(fields)
    if not said:
        return
    said |= {name: value for name, value in _said(fields.get("reply", "")).items() if value}
    said["id"] = fields.get("id") or said["id"]
    # The + of a number, lost where a sender left it unescaped.
    to = fields.get("to", "")
    number = international(to) if to.startswith(" ") else to
    for event in _event(said, number, ours | echo(fields)):
        if "occurred_at" not in event and (timestamp := fields.get("ts")):
            event["occurred_at"] = epoch(timestamp)
        yield event


def _said(text: str) -> dict[str, str]:
    """Return the fields of a receipt's text."""
    fields = _FIELD.findall(_TEXT.split(text, 1)[0])
    said = {name.lower(): value for name, value in fields}
    if "stat" in said:
        said["stat"] = said["stat"].upper()
    return said


def _event(said: Mapping[str, str], number: str, ours: Fields) -> Iterator[Fields]:
    """Yield the one event of a receipt's fields."""
    word = said.get("stat", "")
    if not word:
        raise UnreadableError("an SMPP receipt has to hold stat or message_state")
    if word not in STATUSES:
        raise UnreadableError(f"SMPP state {word[:60]!r} is not known")
    message_id = said.get("id", "")
    if not number and not message_id:
        raise UnreadableError("an SMPP receipt names its message or its source address")
    event: Fields = {
        **ours,
        "kind": STATUSES[word],
        "recipient": number,
        "provider_message_id": message_id,
        "label": word,
    }
    if said.get("err", "").strip("0"):
        event["reason_code"] = said["err"]
    # Message centres without a time write zeros.
    if said.get("done date", "").strip("0"):
        event["occurred_at"] = _time(said["done date"])
    yield event


def _state(pdu: Mapping[str, str]) -> str:
    """Return the word for the message_state, which some gateways write out; '' if there is none."""
    if not pdu["message_state"]:
        return ""
    word = pdu["message_state"].rpartition(".")[2].strip().upper()
    if word in STATUSES:
        return word
    state = _number("message_state", pdu)
    if state not in STATES:
        raise UnreadableError(f"SMPP message_state {state} is not known")
    return STATES[state]


def _number(name: str, pdu: Mapping[str, str]) -> int:
    """Return a number, decimal or as 0x…; raises `UnreadableError` for anything else."""
    value = pdu[name].strip().lower()
    try:
        return int(value, 16 if value.startswith("0x") else 10)
    except ValueError:
        raise UnreadableError(f"SMPP {name} {value[:40]!r} is not a number") from None


def _time(text: str) -> datetime:
    """Return a date as YYMMDDhhmm, with seconds or not, with the century or not.

    Twelve digits are taken without the century first: from 2013 on, "20" as a year is followed
    by no month if it was the century.
    """
    if text.isdecimal() and text.isascii() and len(text) in (10, 12, 14):
        for digits in ("20" + text, text) if len(text) < 14 else (text,):
            try:
                return _date(digits)
            except ValueError:
                continue
    raise UnreadableError(f"SMPP done date {text[:40]!r} is not YYMMDDhhmm")


def _date(digits: str) -> datetime:
    """Return YYYYMMDDhhmm, with seconds or not, as UTC."""
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
    hour, minute, second = int(digits[8:10]), int(digits[10:12]), int(digits[12:] or 0)
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
