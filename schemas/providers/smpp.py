"""SMPP: delivery receipts as a gateway passes them on, as text, as JSON, or as its own push.

The text has `id:… stat:… err:…` up to `text:`; what follows is the message's. Fields of the PDU
come in the record headers `smpp-source-addr`, `smpp-source-addr-ton`, `smpp-esm-class`,
`smpp-message-state` and `smpp-receipted-message-id`, or as members of the JSON; the optional
parameters count before the text. The source address is the phone, `done date` is read as UTC. `err`
is the network's own code, which differs between networks: the state decides. What Jasmin and Kannel
push instead of a receipt is in `_smpp_http`. Source: SMPP Protocol Specification v3.4 (5.2.12,
5.2.28, appendix B) and v5.0 (4.7.15).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from schemas.providers._common import (
    METADATA_FIELDS,
    as_text,
    callback_metadata,
    echoed_texts,
    form_fields,
    international_number,
    validator,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._smpp_http import (
    COMMAND_STATUS_KINDS,
    GATEWAY_FIELDS,
    KANNEL_REPORT_KINDS,
    NO_VALUE,
    is_push,
    receipt_fields,
)
from schemas.providers._tells import Tells
from schemas.providers._times import epoch_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields

PROVIDER: Final = "smpp"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="query", recipient="if the receipt has it")

STATE_WORDS: Final = {
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
STATUS_KINDS: Final = {
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
    # Written out by some message centres
    "ACCEPTED": "sent",
    "DELIVERED": "delivery",
    "UNDELIVERABLE": "undelivered",
    "UNDELIVERED": "undelivered",
    "REJECTED": "rejected",
    # Of operators and aggregators
    "FAILED": "undelivered",
    "DELIVERD": "delivery",
    "SCHEDLD": "queued",
    "BUFFRED": "sent",
    "BUFFERED": "sent",
    "ACKED": "sent",
    # Of gateways
    **COMMAND_STATUS_KINDS,
    **KANNEL_REPORT_KINDS,
}
#: Bits of esm_class that hold the message type, and the types that are receipts.
MESSAGE_TYPE_MASK: Final = 0x3C
RECEIPT_TYPES: Final = frozenset({0x04, 0x20})
INTERNATIONAL_TON: Final = "1"
_FIRST_YEAR_OF_NO_TIME: Final = 2070

_TEXT_MARKER: Final = re.compile(r"(?:^|\s)text:", re.IGNORECASE)
#: A value may be missing; then the next field is not it.
_FIELD: Final = re.compile(
    r"(?:^|\s)(id|done date|stat|err):"
    r"\s?(?!(?:id|sub|dlvrd|submit date|done date|stat|err|text):)(\S*)",
    re.IGNORECASE,
)
_CONTROL_CHARACTERS: Final = re.compile(r"[\0-\x1f\x7f]")


class _Pdu(TypedDict, total=False):
    """The fields of a deliver_sm under their names in the specification."""

    short_message: str | None
    source_addr: str | int | None
    source_addr_ton: str | int | None
    esm_class: str | int | None
    message_state: str | int | None
    receipted_message_id: str | int | None


_read_pdu: Final = validator(_Pdu)
_read_object: Final = TypeAdapter(dict[str, object]).validator.validate_json
PDU_FIELDS: Final = tuple(name for name in _Pdu.__annotations__ if name != "short_message")


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the event of one receipt; see `schemas.providers.Adapter`."""
    text = payload.decode("utf-8", "replace")
    metadata = callback_metadata(headers)
    if text.startswith("{"):
        body = _read_object(payload)
        if {"message_status", "dlr"} & body.keys():
            yield from _push_events(
                {name: as_text(value) for name, value in body.items()}, metadata
            )
            return
        members: _Pdu = _read_pdu(body)
        text = members.get("short_message") or ""
    elif is_push(text):
        yield from _push_events(
            form_fields(text.removeprefix("?"), GATEWAY_FIELDS | METADATA_FIELDS), metadata
        )
        return
    else:
        members = {}
    pdu = {name: headers.get("smpp-" + name.replace("_", "-")) or "" for name in PDU_FIELDS}
    pdu |= {
        name: str(value) for name, value in members.items() if name in pdu and value is not None
    }
    receipt = _text_fields(text)
    if not _is_receipt(pdu):
        return  # a person may have written what looks like one
    receipt["stat"] = _first_known([_state_word(pdu), receipt.get("stat", "")])
    receipt["id"] = pdu["receipted_message_id"].strip("\0 ") or receipt.get("id", "")
    number = pdu["source_addr"].strip("\0 ")
    if pdu["source_addr_ton"] == INTERNATIONAL_TON:
        number = international_number(number)
    yield from _receipt_events(receipt, number, metadata)


def _push_events(fields: Mapping[str, str], metadata: EventFields) -> Iterator[EventFields]:
    """Yield the event of a gateway's push; a whole receipt within it counts first."""
    receipt = receipt_fields(fields)
    if not receipt:
        return
    own_word = receipt.get("stat", "")
    receipt |= {
        name: value for name, value in _text_fields(fields.get("reply", "")).items() if value
    }
    receipt["stat"] = _first_known([receipt.get("stat", ""), own_word])
    receipt["id"] = fields.get("id") or receipt["id"]
    # The + of a number is lost if a sender leaves it unescaped.
    to = fields.get("to", "")
    number = international_number(to) if to.startswith(" ") else to
    for event in _receipt_events(receipt, number, metadata | echoed_texts(fields)):
        if "occurred_at" not in event and (timestamp := fields.get("ts")):
            event["occurred_at"] = epoch_time(timestamp)
        yield event


def _text_fields(text: str) -> dict[str, str]:
    """Return the fields of a receipt's text."""
    head = _CONTROL_CHARACTERS.sub(" ", _TEXT_MARKER.split(text, 1)[0])
    receipt = {
        name.lower(): "" if value == NO_VALUE else value for name, value in _FIELD.findall(head)
    }
    if "stat" in receipt:
        receipt["stat"] = receipt["stat"].upper()
    return receipt


def _receipt_events(
    receipt: Mapping[str, str], number: str, metadata: EventFields
) -> Iterator[EventFields]:
    """Yield the one event of a receipt's fields."""
    word = receipt.get("stat", "")
    if not word:
        raise UnreadableError("an SMPP receipt has to hold stat or message_state")
    if word not in STATUS_KINDS:
        raise UnreadableError(f"SMPP state {word[:60]!r} is not known")
    message_id = receipt.get("id", "")
    if not number and not message_id:
        raise UnreadableError("an SMPP receipt names its message or its source address")
    event: EventFields = {
        **metadata,
        "kind": STATUS_KINDS[word],
        "recipient": number,
        "provider_message_id": message_id,
        "label": word,
    }
    if receipt.get("err", "").strip("0"):
        event["reason_code"] = receipt["err"]
    # Message centres without a time write zeros.
    done = receipt.get("done date", "")
    if done.strip("0") and (time := _time(done)):
        event["occurred_at"] = time
    yield event


def _is_receipt(pdu: Mapping[str, str]) -> bool:
    """Return whether a PDU is a receipt: by a receipt's own parameters, else by its esm_class."""
    if pdu["message_state"] or pdu["receipted_message_id"].strip("\0 ") or not pdu["esm_class"]:
        return True
    return _number("esm_class", pdu) & MESSAGE_TYPE_MASK in RECEIPT_TYPES


def _first_known(words: list[str]) -> str:
    """Return the first state word that is known, else the first there is."""
    known = (word for word in words if word in STATUS_KINDS)
    return next(known, next(filter(None, words), ""))


def _state_word(pdu: Mapping[str, str]) -> str:
    """Return the word for the message_state, which some gateways write out; '' if it is empty."""
    if not pdu["message_state"]:
        return ""
    word = pdu["message_state"].rpartition(".")[2].strip().upper()
    if word in STATUS_KINDS:
        return word
    state = _number("message_state", pdu)
    return STATE_WORDS.get(state, f"message_state {state}")


def _number(name: str, pdu: Mapping[str, str]) -> int:
    """Return a number, decimal or as 0x…; raises `UnreadableError` for anything else."""
    value = pdu[name].strip().lower()
    try:
        return int(value, 16 if value.startswith("0x") else 10)
    except ValueError:
        raise UnreadableError(f"SMPP {name} {value[:40]!r} is not a number") from None


def _time(text: str) -> datetime | None:
    """Return a date as YYMMDDhhmm, with seconds or not, with the century or not.

    None for any other text, and for a year from 70 on, by which libraries mean no time: the rest of
    a receipt says what happened, and the record has a time.

    Twelve digits are first read as without the century. If they have it, that fails since 2013: no
    month follows a year "20".
    """
    if text.isdecimal() and text.isascii() and len(text) in (10, 12, 14):
        for digits in ("20" + text, text) if len(text) < 14 else (text,):
            try:
                time = _date(digits)
            except ValueError:
                continue
            return time if time.year < _FIRST_YEAR_OF_NO_TIME else None
    return None


def _date(digits: str) -> datetime:
    """Return YYYYMMDDhhmm, with seconds or not, as UTC."""
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
    hour, minute, second = int(digits[8:10]), int(digits[10:12]), int(digits[12:] or 0)
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
