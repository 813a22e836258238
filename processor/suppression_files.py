"""Files of addresses to blacklist: read as CSV with every bad line named, and written as such."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TextIO, get_args

from processor.policy.outputs import cause
from schemas.addresses import Address, normalised
from schemas.errors import ExplainedError
from schemas.events import Channel

#: What a file must have, in any order. A column `tenant` is checked; all others are left alone.
REQUIRED: Final = ("channel", "address", "reason")
#: What is written. Each line can be read again.
COLUMNS: Final = (
    "tenant", "channel", "address", "reason", "rule", "rules", "since", "until", "actor",
    "message_id",
)  # fmt: skip
_TIMES: Final = ("since", "until")
#: As much as an address and a reason may be long.
_LONGEST: Final = {"address": 320, "reason": 1024}
_SHAPES: Final[Mapping[Channel, tuple[re.Pattern[str], str]]] = {
    "email": (re.compile(r"[^\s@]+(@[^\s@]+)*@[^\s@]+"), "an email address"),
    "sms": (re.compile(r"\+?[0-9]{3,15}"), "a number, as +442079460018"),
}


class FileError(ExplainedError, ValueError):
    """A file is no CSV with the columns needed; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line that can be used: whom to blacklist, and why."""

    number: int
    whose: Address
    reason: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that cannot, and what is wrong with it."""

    number: int
    why: str


def address_of(channel: Channel, text: str) -> str:
    """Return an address as the log has it. Raises `ValueError` for what is none."""
    address = normalised(channel, text)
    shape, what = _SHAPES[channel]
    if not shape.fullmatch(address) or len(address) > _LONGEST["address"]:
        raise ValueError(f"{text.strip()!r} is not {what}")
    return address


def rows(lines: Iterable[str], tenant: str) -> Iterator[Row | BadRow]:
    """Yield what each line of a file says; empty ones are left out.

    Raises `FileError` if the header is missing, or the file is no CSV at all.
    """
    reader = csv.DictReader(lines, strict=True)
    try:
        names = [(name or "").strip().lower().lstrip("\ufeff") for name in reader.fieldnames or ()]
        if missing := [name for name in REQUIRED if name not in names]:
            raise FileError(
                f"the header lacks {', '.join(missing)}; the first line names the columns:"
                f" {','.join(REQUIRED)}, and tenant if you like"
            )
        reader.fieldnames = names
        for line in reader:
            try:
                yield _row(reader.line_num, line, tenant)
            except ValueError as error:
                yield BadRow(reader.line_num, str(error))
    except csv.Error as error:
        raise FileError(f"line {reader.reader.line_num} is not CSV: {error}") from None


def _row(number: int, line: Mapping[str | None, Any], tenant: str) -> Row:
    if None in line:
        raise ValueError("there are more values than columns; put quotes around one with a comma")
    own = {str(name): (value or "").strip() for name, value in line.items()}
    if empty := [name for name in REQUIRED if not own[name]]:
        raise ValueError(f"no {' and no '.join(empty)}")
    if own.get("tenant") and own["tenant"] != tenant:
        raise ValueError(f"of tenant {own['tenant']!r}, not {tenant!r}")
    channel = next((each for each in get_args(Channel) if each == own["channel"].lower()), None)
    if channel is None:
        raise ValueError(f"channel {own['channel']!r} is neither email nor sms")
    if len(own["reason"]) > _LONGEST["reason"]:
        raise ValueError(f"the reason is longer than {_LONGEST['reason']} characters")
    return Row(number, Address(tenant, channel, address_of(channel, own["address"])), own["reason"])


def write(entries: Iterable[Mapping[str, Any]], file: TextIO) -> None:
    """Write entries of the blacklist as CSV."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(told, entries))


def told(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return an entry of the blacklist as a file has it."""
    times = {name: f"{at:%Y-%m-%dT%H:%M:%SZ}" if (at := entry[name]) else "" for name in _TIMES}
    return {
        **{name: entry[name] for name in ("channel", "address", "rule", "actor", "message_id")},
        "tenant": entry["tenant_id"],
        "reason": _said(entry),
        "rules": " ".join(entry["rules"]),
        **times,
    }


def _said(entry: Mapping[str, Any]) -> str:
    """Return what was said when an address was listed, without what the other columns say.

    So a file that is read and written again stays as it was. Who reads it must have a reason, also
    where a provider gave none: then it is the rule.
    """
    begun = cause(entry["rule"], entry["since"], entry["actor"])
    said = str(entry["reason"]).removeprefix(begun).removeprefix(": ")
    return said or entry["rule"].replace("_", " ")
