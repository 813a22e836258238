"""CSV files of addresses to suppress: read with an error for each bad line, and written."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TextIO, get_args

from processor.policy.outputs import reason_text
from schemas.addresses import Address, parse_address
from schemas.errors import ExplainedError
from schemas.events import Channel

#: A file must have these, in any order. A column `tenant` is checked, all others are ignored.
REQUIRED_COLUMNS: Final = ("channel", "address", "reason")
#: The columns of a written file, which can be read again.
WRITTEN_COLUMNS: Final = (
    "tenant", "channel", "address", "reason", "rule", "rules", "since", "until", "actor",
    "message_id",
)  # fmt: skip
_TIMES: Final = ("since", "until")
_MAX_REASON_CHARACTERS: Final = 1024


class SuppressionFileError(ExplainedError, ValueError):
    """A file is not CSV, or lacks a column; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A good line: the address to suppress, and why."""

    line_number: int
    address: Address
    reason: str


@dataclass(frozen=True, slots=True)
class BadFileRow:
    """A bad line, and what is wrong with it."""

    line_number: int
    why: str


def read_rows(
    lines: Iterable[str], tenant: str, region: str = ""
) -> Iterator[FileRow | BadFileRow]:
    """Yield the rows of a file, without empty lines; `region` is that of numbers without a country.

    Raises `SuppressionFileError` if the header is wrong, or the file is not CSV.
    """
    reader = csv.DictReader(lines, strict=True)
    try:
        names = [(name or "").strip().lower().lstrip("\ufeff") for name in reader.fieldnames or ()]
        if missing := [name for name in REQUIRED_COLUMNS if name not in names]:
            raise SuppressionFileError(
                f"the header lacks {', '.join(missing)}; the first line names the columns:"
                f" {','.join(REQUIRED_COLUMNS)}, and tenant if you like"
            )
        reader.fieldnames = names
        for line in reader:
            try:
                yield _read_row(reader.line_num, line, tenant, region)
            except ValueError as error:
                yield BadFileRow(reader.line_num, str(error))
    except csv.Error as error:
        raise SuppressionFileError(f"line {reader.reader.line_num} is not CSV: {error}") from None


def _read_row(number: int, line: Mapping[str | None, Any], tenant: str, region: str) -> FileRow:
    if None in line:
        raise ValueError("there are more values than columns; put quotes around one with a comma")
    fields = {str(name): (value or "").strip() for name, value in line.items()}
    if empty := [name for name in REQUIRED_COLUMNS if not fields[name]]:
        raise ValueError(f"no {' and no '.join(empty)}")
    if fields.get("tenant") and fields["tenant"] != tenant:
        raise ValueError(f"of tenant {fields['tenant']!r}, not {tenant!r}")
    channel = next((name for name in get_args(Channel) if name == fields["channel"].lower()), None)
    if channel is None:
        raise ValueError(f"channel {fields['channel']!r} is neither email nor sms")
    if len(fields["reason"]) > _MAX_REASON_CHARACTERS:
        raise ValueError(f"the reason is longer than {_MAX_REASON_CHARACTERS} characters")
    address = Address(tenant, channel, parse_address(channel, fields["address"], region))
    return FileRow(number, address, fields["reason"])


def write_entries(entries: Iterable[Mapping[str, Any]], file: TextIO) -> None:
    """Write entries of the suppression list as CSV."""
    writer = csv.DictWriter(file, WRITTEN_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(entry_to_row, entries))


def entry_to_row(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return an entry of the suppression list as a row of a file."""
    times = {name: f"{at:%Y-%m-%dT%H:%M:%SZ}" if (at := entry[name]) else "" for name in _TIMES}
    return {
        **{name: entry[name] for name in ("channel", "address", "rule", "actor", "message_id")},
        "tenant": entry["tenant_id"],
        "reason": _reason_of(entry),
        "rules": " ".join(entry["rules"]),
        **times,
    }


def _reason_of(entry: Mapping[str, Any]) -> str:
    """Return the reason of an entry without its beginning, which the other columns repeat.

    So a file that is imported and exported again stays the same. Without a reason of its own an
    entry gets its rule, because an import needs one.
    """
    beginning = reason_text(entry["rule"], entry["since"], entry["actor"])
    reason = str(entry["reason"]).removeprefix(beginning).removeprefix(": ")
    return reason or entry["rule"].replace("_", " ")
