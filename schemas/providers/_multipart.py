"""The fields of a form that came as multipart/form-data (RFC 7578), in time linear in its size.

Such a form is flat: parts within parts are text. So a part ends where its delimiter comes next, and
one search for the delimiter finds them all, whatever the parts hold.
"""

from __future__ import annotations

import re
from email.parser import HeaderParser
from typing import Final

from schemas.providers._rejections import UnreadableError

#: More than any form of a provider has.
MAX_PARTS: Final = 200
MAX_PART_HEADER_BYTES: Final = 2_048
#: RFC 2046, 5.1.1: a boundary of 70, after two hyphens.
_MAX_DELIMITER_BYTES: Final = 72
_END_OF_HEADERS: Final = re.compile(rb"\r?\n\r?\n")


def multipart_fields(payload: bytes) -> dict[str, str]:
    """Return the text fields of a form, the last of each name; its files are left out.

    The delimiter is its first line. Raises `UnreadableError` for more parts, or more headers of a
    part, than a form has.
    """
    body = b"\n" + payload.lstrip()
    first_line = body[1 : _MAX_DELIMITER_BYTES + 3].partition(b"\n")[0].rstrip()
    if len(first_line) > _MAX_DELIMITER_BYTES or len(first_line) <= len(b"--"):
        raise UnreadableError("the form does not begin with a boundary of RFC 2046")
    delimiter = b"\n" + first_line
    if body.count(delimiter) > MAX_PARTS:
        raise UnreadableError(f"the form has more than {MAX_PARTS} parts")
    fields: dict[str, str] = {}
    for part in body.split(delimiter)[1:]:
        if part.startswith(b"--"):
            break
        fields |= _field(part)
    return fields


def _field(part: bytes) -> dict[str, str]:
    """Return a part as a field; nothing if it is a file or has no name."""
    end = _END_OF_HEADERS.search(part, 0, MAX_PART_HEADER_BYTES)
    if end is None:
        raise UnreadableError(f"a part of the form has no headers of {MAX_PART_HEADER_BYTES} bytes")
    header = HeaderParser().parsestr(part[: end.start()].decode("utf-8", "replace").lstrip())
    name = header.get_param("name", header="content-disposition")
    if not isinstance(name, str) or header.get_filename() is not None:
        return {}
    header.set_payload(part[end.end() :].removesuffix(b"\r").decode("ascii", "surrogateescape"))
    value = header.get_payload(decode=True)
    return {name: value.decode("utf-8", "replace")} if isinstance(value, bytes) else {}
