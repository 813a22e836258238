"""What a file has, whatever its form: mails, JSON of any shape, CSV, or a body on each line.

A line that cannot be read is a `BadLine` and the next is read. The form is told by how the file
begins.
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

from processor.imports.files import head_of, is_maildir, opened
from processor.imports.layouts import (
    LIST_MEMBERS,
    ROW_LAYOUTS,
    RowLayout,
    convert_row,
    export_time,
    is_postmark_message,
    is_sendgrid_message,
    nested,
    postmark_message_payloads,
    row_layout,
    sendgrid_message_rows,
)
from processor.imports.list_layouts import ENTRY_MEMBERS, LIST_LAYOUTS
from processor.imports.mail_sources import MailSourceError, mailbox_records, open_mailbox
from processor.imports.payloads import BadLine, LeftOut, SourcePayload
from schemas.events import milliseconds
from schemas.providers import UnreadableError, reports

#: The provider whose payloads are whole mails.
_REPORTS: Final = reports.PROVIDER
#: A document that is one JSON value over many lines is read whole; it may have so many bytes.
MAX_DOCUMENT_BYTES: Final = 512 * 1024 * 1024
#: Headers that Sendlog itself sets: a file cannot say whose its payloads are.
OWN_HEADER_PREFIX: Final = "sendlog-"
_MAILBOX_START: Final = b"From "
_decoder: Final = JSONDecoder()
_SHAPE_ERRORS: Final = (UnreadableError, AttributeError, KeyError, TypeError, ValueError)

Item: TypeAlias = SourcePayload | BadLine | LeftOut


class ImportSource(NamedTuple):
    """A file's name, whose it is, of which list, and the layout of its rows, if they have one."""

    name: str
    provider: str
    list_name: str
    layout: RowLayout | None
    members: Mapping[str, Mapping[str, str]]


def read_file(
    path: Path, provider: str, *, list_name: str = "", max_bytes: int, return_path_pattern: str = ""
) -> Iterator[Item]:
    """Yield the payloads of a provider in a file, its bad lines, and rows that are left out.

    With `list_name` its rows are entries of that list. Mails over `max_bytes` are cut. Raises
    `ImportSourceError`, `MailSourceError`.
    """
    name = str(path)
    layout, members = ROW_LAYOUTS.get(provider), LIST_MEMBERS.get(provider, {})
    if list_name:
        layout = LIST_LAYOUTS[provider][list_name]
        members = {member: {} for member in ENTRY_MEMBERS}
    source = ImportSource(name, provider, list_name, layout, members)
    try:
        if provider == _REPORTS and (is_maildir(path) or _is_mailbox(path)):
            yield from _mails(path, max_bytes, return_path_pattern)
            return
        with opened(path) as file:
            yield from _items(file, source, max_bytes, return_path_pattern)
    except (EOFError, OSError, zlib.error) as error:
        yield BadLine(name, 1, f"the file is damaged: {error}")


def _items(file: BinaryIO, source: ImportSource, max_bytes: int, pattern: str) -> Iterator[Item]:
    head, name = head_of(file), source.name
    if source.provider == _REPORTS and head.lstrip()[:1] != b"{":
        mail = file.read()[:max_bytes]
        yield SourcePayload(name, 1, mail, reports.query_headers(mail, {}, pattern))
    elif head.lstrip()[:1] in (b"{", b"["):
        yield from _json_items(file, source)
    elif _is_table(head):
        yield from _table_items(file, source)
    else:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield SourcePayload(name, number, line.rstrip(b"\r\n"))


def _is_mailbox(path: Path) -> bool:
    with opened(path) as file:
        return head_of(file).startswith(_MAILBOX_START)


def _mails(path: Path, max_bytes: int, pattern: str) -> Iterator[Item]:
    try:
        records = mailbox_records(open_mailbox(path), max_bytes, pattern)
    except MailSourceError as error:
        yield BadLine(str(path), 1, str(error))
        return
    for number, record in enumerate(records, 1):
        yield SourcePayload(str(path), number, record.value, record.headers)


# ------------------------------------------------------------------------------- JSON


def _json_items(file: BinaryIO, source: ImportSource) -> Iterator[Item]:
    for value in _json_values(file, source.name):
        if isinstance(value, BadLine):
            yield value
            continue
        line, text, body = value
        try:
            yield from _value_items(source, line, text, body)
        except _SHAPE_ERRORS as error:
            yield BadLine(source.name, line, _reason(error))


def _json_values(file: BinaryIO, name: str) -> Iterator[tuple[int, str, Any] | BadLine]:
    """Yield each value with its line and text: a value a line, or values over several lines.

    There may be several on a line, as Firehose writes them.
    """
    number, first = next(_filled_lines(file, 1), (1, b""))
    values = list(_line_values(first, number, name))
    if not _has_bad(values):
        yield from values
        yield from _values_by_line(_filled_lines(file, number + 1), name)
        return
    rest = first + file.read(MAX_DOCUMENT_BYTES)
    if file.read(1):
        yield BadLine(name, number, "its first line is no JSON, and the file is over 512 MiB")
        return
    values = list(_line_values(rest, number, name))
    lines = list(_filled_lines(rest.splitlines(), number))
    if _has_bad(values) and len(lines) > 1 and not _has_bad(_line_values(lines[1][1], 1, name)):
        yield from _values_by_line(lines, name)  # only its first line is bad
    else:
        yield from values


def _filled_lines(lines: Iterable[bytes], start: int) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(lines, start) if line.strip())


def _values_by_line(
    lines: Iterable[tuple[int, bytes]], name: str
) -> Iterator[tuple[int, str, Any] | BadLine]:
    for number, line in lines:
        yield from _line_values(line, number, name)


def _has_bad(values: Iterable[object]) -> bool:
    return any(isinstance(value, BadLine) for value in values)


def _line_values(raw: bytes, line: int, name: str) -> Iterator[tuple[int, str, Any] | BadLine]:
    """Yield the JSON values of a text that begins at a line, up to what is none."""
    text = raw.decode("utf-8", "surrogateescape").rstrip()
    position = _next_value(text, 0)
    while position < len(text):
        number = line + text.count("\n", 0, position)
        try:
            body, end = _decoder.raw_decode(text, position)
        except (JSONDecodeError, RecursionError) as error:
            at = getattr(error, "lineno", 1) - 1
            yield BadLine(name, line + at, f"not JSON: {getattr(error, 'msg', 'too deep')}")
            return
        yield number, text[position:end], body
        position = _next_value(text, end)


def _next_value(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n,":
        position += 1
    return position


def _value_items(source: ImportSource, line: int, text: str, body: Any) -> Iterator[Item]:
    """Yield what one JSON value has: payloads, rows, or a list of either."""
    if isinstance(body, list):
        for element in body:
            yield from _element_items(source, line, element)
        return
    if not isinstance(body, dict):
        raise UnreadableError("neither an object nor a list")
    for member, defaults in source.members.items():
        if isinstance(body.get(member), list):
            for element in body[member]:
                whole = {**defaults, **element} if isinstance(element, dict) else element
                yield from _element_items(source, line, whole)
            return
    yield from _object_items(source, line, text, body)


def _element_items(source: ImportSource, line: int, element: Any) -> Iterator[Item]:
    """Yield what one element of a list has; a bad one leaves the others alone."""
    if not isinstance(element, dict):
        yield BadLine(source.name, line, "an element of a list that is no object")
        return
    try:
        text = json.dumps(element, ensure_ascii=False, separators=(",", ":"))
        yield from _object_items(source, line, text, element)
    except _SHAPE_ERRORS as error:
        yield BadLine(source.name, line, _reason(error))


def _object_items(
    source: ImportSource, line: int, text: str, body: Mapping[str, Any]
) -> Iterator[Item]:
    if _is_archived(body):
        yield _archived(source, line, body)
    elif source.provider == "postmark" and is_postmark_message(body):
        for payload in postmark_message_payloads(body):
            yield SourcePayload(source.name, line, payload, exact=False)
    elif source.provider == "sendgrid" and is_sendgrid_message(body):
        for row in sendgrid_message_rows(body):
            yield _row_item(source.name, line, ROW_LAYOUTS["sendgrid"], row)
    elif layout := row_layout(source.layout, body):
        yield _row_item(source.name, line, layout, body)
    elif source.list_name:
        raise UnreadableError(_not_of_list(source))
    else:
        yield SourcePayload(source.name, line, text.encode("utf-8", "surrogateescape"))


# ---------------------------------------------------------------------------- archives


def _is_archived(body: Mapping[str, Any]) -> bool:
    return "payload" in body and bool({"headers", "recorded_at", "ts", "provider"} & body.keys())


def _archived(source: ImportSource, line: int, body: Mapping[str, Any]) -> SourcePayload:
    """Return a payload that was kept with its headers and its time, as `kcat -J` prints records."""
    if body.get("provider") not in (None, source.provider):
        named = str(body["provider"])[:60]
        raise UnreadableError(f"of provider {named!r}, not {source.provider!r}")
    payload = body["payload"]
    if not isinstance(payload, str):
        payload = json.dumps(payload, ensure_ascii=False)
    time = body.get("recorded_at") or body.get("ts")
    arrived_ms = milliseconds(export_time(str(time))) if time else None
    return SourcePayload(
        source.name, line, payload.encode("utf-8", "surrogatepass"),
        _kept_headers(body.get("headers") or {}), arrived_ms,
    )  # fmt: skip


def _kept_headers(headers: Any) -> dict[str, str]:
    if isinstance(headers, list):  # names and values in turn
        headers = dict(zip(headers[::2], headers[1::2], strict=False))
    named = {str(name).lower(): str(value) for name, value in headers.items()}
    return {name: value for name, value in named.items() if not name.startswith(OWN_HEADER_PREFIX)}


# ------------------------------------------------------------------------------ tables


def _is_table(head: bytes) -> bool:
    """Tell whether a file begins with a header of CSV, rather than with a form."""
    first = head.lstrip().partition(b"\n")[0]
    return b"," in first and b"=" not in first


def _table_items(file: BinaryIO, source: ImportSource) -> Iterator[Item]:
    name = source.name
    text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
    rows = csv.DictReader(text)
    try:
        columns = [(column or "").strip() for column in rows.fieldnames or ()]
    except csv.Error as error:
        yield BadLine(name, 1, f"not CSV: {error}")
        return
    rows.fieldnames = columns
    layout = row_layout(source.layout, columns)
    if source.list_name and layout is None:
        yield BadLine(name, 1, _not_of_list(source))
        return
    for row in _read_rows(rows, name):
        if isinstance(row, BadLine):
            yield row
            continue
        try:
            if layout:
                yield _row_item(name, rows.line_num, layout, row)
            else:
                payload = json.dumps(nested(row), ensure_ascii=False).encode()
                yield SourcePayload(name, rows.line_num, payload, exact=False)
        except (UnreadableError, ValueError) as error:
            yield BadLine(name, rows.line_num, _reason(error))


def _read_rows(rows: csv.DictReader[str], name: str) -> Iterator[dict[str, str] | BadLine]:
    while True:
        try:
            row: Mapping[str | None, Any] = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadLine(name, rows.line_num, f"not CSV: {error}")
            continue
        if None in row:
            yield BadLine(name, rows.line_num, "there are more values than columns")
        else:
            yield {str(column): (value or "").strip() for column, value in row.items()}


def _row_item(
    name: str, line: int, layout: RowLayout, row: Mapping[str, Any]
) -> SourcePayload | LeftOut:
    converted = convert_row(layout, row)
    if isinstance(converted, str):
        return LeftOut(name, line, converted)
    return SourcePayload(
        name, line, converted.payload, recorded_ms=converted.recorded_ms, exact=False
    )


def _not_of_list(source: ImportSource) -> str:
    layout = LIST_LAYOUTS[source.provider][source.list_name]
    columns = " and ".join(" or ".join(sorted(mark)) for mark in layout.marks)
    return f"entries of the list {source.list_name} have {columns}"


def _reason(error: Exception) -> str:
    if isinstance(error, UnreadableError):
        return str(error)
    return f"unexpected shape ({type(error).__name__})"
