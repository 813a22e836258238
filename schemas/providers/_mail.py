"""Reads a mail as far as reports need it: headers, the parts of its body, texts and fields.

The parts are split here and not by `email`'s parser: its time grows with the depth of a body, which
whoever writes a mail can choose. Headers are read by its `compat32` policy, because the one of
structured headers raises for malformed ones. Whatever is broken is read as far as it goes.
Sources: RFC 5322, RFC 2045 to 2047, RFC 3464 (2.1.1: fields), RFC 6533 (utf-8 addresses).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import getaddresses, parsedate_to_datetime
from functools import cached_property
from html import unescape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.addresses import bare_address
from schemas.events import MAX_EVENT_TIME, MIN_EVENT_TIME
from schemas.providers._common import METADATA_FIELDS
from schemas.providers._rejections import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Our own headers of a message, without a mark of ours as for SES, or with it, which counts more.
OWN_HEADERS: Final = {
    **{f"x-{name.replace('_', '-')}": name for name in sorted(METADATA_FIELDS)},
    **{f"x-sendlog-{name.replace('_', '-')}": name for name in sorted(METADATA_FIELDS)},
    "x-sendlog-tenant": "tenant_id",
    "x-sendlog-recipient": "recipient",
}
#: A text has one of these if it is a mail; RFC 5322 requires the first two.
MAIL_HEADERS: Final = ("from", "date", "subject", "to", "message-id", "received", "return-path")
#: Headers by which mail systems pass on the address that a mail was sent to, the most exact first.
ENVELOPE_HEADERS: Final = (
    "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to", "to",
)  # fmt: skip
#: Levels of multiparts, and parts, that are read; a report has two levels and three or four parts.
MAX_DEPTH: Final = 6
MAX_PARTS: Final = 50
#: A report's text is short; what follows is the message that it returns.
MAX_TEXT_BYTES: Final = 64 * 1024
MAX_STATUS_BYTES: Final = 1024 * 1024
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_VALUE_CHARACTERS: Final = 4_000

_PARSER: Final = BytesHeaderParser(policy=compat32)
_END_OF_HEAD: Final = re.compile(rb"\n[ \t]*\n|\Z")
_HEADER_LINE: Final = re.compile(rb"[!-9;-~]+[ \t]*:|[ \t]")
_FIELD: Final = re.compile(r"([A-Za-z][\w-]*)[ \t]*:[ \t]*(.*)")
_TYPED: Final = re.compile(r"\s*([A-Za-z][\w-]*)\s*;\s*(.*)", re.DOTALL)
_UTF8_ESCAPE: Final = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")
_SPACES: Final = re.compile(r"\s+")
_HTML_HIDDEN: Final = re.compile(r"<(style|script|title)\b[^<]*(?:<(?!/\1\b)[^<]*)*", re.IGNORECASE)
_HTML_BLOCK: Final = re.compile(
    r"<(?!/?(?:a|b|em|font|i|span|strong|tt|u)\b)[^<>]*>", re.IGNORECASE
)
_HTML_TAG: Final = re.compile(r"<[^<>]*>")
_CONTROL_CHARACTERS: Final = re.compile(r"[\0-\x08\x0b-\x1f\x7f]")


class Headers:
    """The headers of a mail or of a part, by their lower-case names."""

    def __init__(self, head: bytes) -> None:
        # The parser would take the first line that is no header for the end of all of them.
        lines = filter(_HEADER_LINE.match, head[:MAX_HEAD_BYTES].split(b"\n"))
        self.message: Message[Any, Any] = _PARSER.parsebytes(b"\n".join(lines))
        self._values: dict[str, list[object]] = {}
        for name, value in self.message.raw_items():
            self._values.setdefault(name.lower(), []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> str:
        """Return the first header of a name in one line, its encoded words read; '' without one."""
        values = self._values.get(name)
        return _decoded_header(values[0]) if values else ""

    def get_all(self, name: str) -> list[str]:
        """Return all headers of a name."""
        return [_decoded_header(value) for value in self._values.get(name, ())]

    def parameter(self, name: str) -> str:
        """Return a parameter of the content type."""
        value = self.message.get_param(name)
        text = value[2] if isinstance(value, tuple) else value
        return str(text or "").strip("\"' ")

    def address(self, name: str) -> str:
        """Return the one address in a header; '' if there is none, or several."""
        addresses = {address for _, address in getaddresses([self.get(name)]) if "@" in address}
        return addresses.pop() if len(addresses) == 1 else ""


class Part(NamedTuple):
    """A part of a mail that is no multipart; the body as it is transferred."""

    content_type: str
    headers: Headers
    body: bytes

    def content(self) -> bytes:
        """Return the body as it was before it was encoded for transfer."""
        message = self.headers.message
        message.set_payload(self.body.decode("ascii", "surrogateescape"))
        content = message.get_payload(decode=True)
        return content if isinstance(content, bytes) else self.body

    def text(self, limit: int = MAX_TEXT_BYTES) -> str:
        """Return the first bytes of the body as text; what is no character is replaced."""
        content = self.content()[:limit]
        try:
            text = content.decode(self.headers.parameter("charset") or "utf-8", "replace")
        except (LookupError, ValueError):
            text = content.decode("utf-8", "replace")
        text = text.replace("\r\n", "\n")
        if self.content_type == "text/html":
            text = _html_text(text)
        return _CONTROL_CHARACTERS.sub(" ", text.replace("\xa0", " "))


@dataclass(frozen=True)
class Mail:
    """A mail: its headers, and its parts in their order."""

    headers: Headers
    parts: Sequence[Part]

    def part(self, *content_types: str) -> Part | None:
        """Return the first part of one of these types."""
        return next((part for part in self.parts if part.content_type in content_types), None)

    @cached_property
    def text(self) -> str:
        """What the mail says to people."""
        part = self.part("text/plain") or self.part("text/html")
        # A multipart of which no part can be told apart is text as well.
        part = part or next(
            (p for p in self.parts if p.content_type.startswith("multipart/")), None
        )
        return part.text() if part else ""


def read_mail(payload: bytes) -> Mail:
    """Return a mail. Raises `UnreadableError` if it has no header of a mail."""
    data = payload.replace(b"\r\n", b"\n")
    if data.startswith((b"From ", b">From ")):  # the line between the mails of an mbox
        data = data.partition(b"\n")[2]
    head, body = _split(data)
    headers = Headers(head)
    if not any(name in headers for name in MAIL_HEADERS):
        raise UnreadableError("the record is no mail: it has no From, Date, Subject or the like")
    parts: list[Part] = []
    for part in _parts(headers, body, MAX_DEPTH):
        parts.append(part)
        if len(parts) == MAX_PARTS:
            break
    return Mail(headers, parts)


def field_list(text: str) -> list[list[tuple[str, str]]]:
    """Return the groups of fields of a report, with lower-case names; blank lines divide them."""
    groups: list[list[tuple[str, str]]] = [[]]
    for line in text.split("\n"):
        if not line.strip():
            groups.append([])
        elif line[0] not in " \t" and (match := _FIELD.match(line)):
            groups[-1].append((match[1].lower(), match[2].strip()))
        elif groups[-1]:
            # Folded, or a line that its writer forgot to fold.
            name, value = groups[-1][-1]
            if len(value) < MAX_VALUE_CHARACTERS:
                groups[-1][-1] = (name, f"{value} {line.strip()}".strip())
    return [group for group in groups if group]


def untyped(value: str) -> str:
    """Return what follows the type of a field, as `550 …` in `smtp; 550 …`."""
    match = _TYPED.match(value)
    return (match[2] if match else value).strip()


def field_address(value: str) -> str:
    """Return the address in a field such as `rfc822; ann@example.org`; '' if it is none."""
    match = _TYPED.match(value)
    address = bare_address((match[2] if match else value).strip()).strip()
    if match and match[1].lower() == "utf-8":
        address = _UTF8_ESCAPE.sub(_escaped_character, address)
    return address if "@" in address and not re.search(r"[\s<>]", address) else ""


def xtext(value: str) -> str:
    """Return a text that is encoded as RFC 3461 (4) has it."""
    return _XTEXT.sub(lambda match: chr(int(match[1], 16)), value)


def mail_time(text: str) -> datetime | None:
    """Return a date as mails have it, in UTC; None if it cannot be read, or be true."""
    try:
        time = parsedate_to_datetime(text.partition("(")[0].strip()[:100])
        # A zone of -0000 is a time in UTC whose writer does not say where it is.
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ArithmeticError, IndexError, TypeError, ValueError):
        return None
    return time.replace(microsecond=0) if MIN_EVENT_TIME <= time < MAX_EVENT_TIME else None


def _parts(headers: Headers, body: bytes, depth: int) -> Iterator[Part]:
    content_type = headers.message.get_content_type()
    if content_type.startswith("multipart/") and depth:
        pieces = list(_pieces(body, headers.parameter("boundary")))
        if pieces:
            for piece in pieces:
                head, content = _split(piece)
                yield from _parts(Headers(head), content, depth - 1)
            return
    yield Part(content_type, headers, body)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Return the headers and the body."""
    if data.startswith(b"\n"):
        return b"", data[1:]
    match = _END_OF_HEAD.search(data)
    assert match is not None
    return data[: match.start()] + b"\n", data[match.end() :]


def _pieces(body: bytes, boundary: str) -> Iterator[bytes]:
    """Yield what stands between the boundaries; the last may be missing."""
    if not boundary:
        return
    marker = re.escape(boundary.encode("utf-8", "surrogateescape"))
    matches = list(re.finditer(rb"(?:^|\n)--" + marker + rb"(--)?[ \t]*(?=\n|\Z)", body))
    ends = [match.start() for match in matches[1:]] + [len(body)]
    for match, end in zip(matches[:MAX_PARTS], ends, strict=False):
        if match[1]:
            return
        yield body[match.end() + 1 : end]


def _decoded_header(value: object) -> str:
    text = str(value)[:MAX_VALUE_CHARACTERS]
    if "=?" in text:
        with suppress(HeaderParseError, LookupError, ValueError):
            text = str(make_header(decode_header(text)))
    text = text.encode("utf-8", "replace").decode()
    return _CONTROL_CHARACTERS.sub(" ", " ".join(text.split()))


def _escaped_character(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def _html_text(page: str) -> str:
    """Return the text of a page, a line for each element that begins one.

    `html.parser` would be quadratic in what nobody closes.
    """
    page = _HTML_HIDDEN.sub("", _SPACES.sub(" ", page))
    return unescape(_HTML_TAG.sub("", _HTML_BLOCK.sub("\n", page)))
