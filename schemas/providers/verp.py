"""Variable envelope return paths (VERP): what a bounce's own address says of its message.

A mailer that sends each message from an envelope address of its own, such as
`bounces+invoice-7@mail.example.com`, gets every report about it at that address, however little the
report says. The form is D. J. Bernstein's ("Variable Envelope Return Paths", 1997), with
subaddresses as in RFC 5233.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from schemas.addresses import bare_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: `bounces+MESSAGE_ID@…`, `bounces+MESSAGE_ID+USER=DOMAIN@…` or `bounces+USER=DOMAIN@…`. Any other
#: name before the + may be that of a mailbox for something else.
DEFAULT_PATTERN: Final = (
    r"(?:bounces?|returns?)\+"
    r"(?:(?P<message>[^+@=]+)(?:\+|(?=@)))?(?P<recipient>[^@]+=[^@=]+)?@.*"
)
#: The groups of a pattern, and what each is of a message event.
FIELDS_BY_GROUP: Final[Mapping[str, str]] = {
    "tenant": "tenant_id",
    "message": "message_id",
    "recipient": "recipient",
    "record_type": "record_type",
    "record_id": "record_id",
    "campaign": "campaign",
    "attempt": "attempt",
}
#: The record header with metadata from the address of a callback, here of a report.
QUERY_HEADER: Final = "x-callback-query"
_MAX_ADDRESS_CHARACTERS: Final = 512


@cache
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return a pattern of whole addresses, with groups of `FIELDS_BY_GROUP`.

    Raises `ValueError`, which says what is wrong with it.
    """
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    groups = ", ".join(FIELDS_BY_GROUP)
    if unknown := sorted(compiled.groupindex.keys() - FIELDS_BY_GROUP.keys()):
        raise ValueError(f"has the group {unknown[0]!r}; there are: {groups}")
    if not compiled.groupindex:
        raise ValueError(f"has none of the groups {groups}")
    return compiled


_DEFAULT: Final = compile_pattern(DEFAULT_PATTERN)


def verp_fields(addresses: Iterable[str], pattern: re.Pattern[str] = _DEFAULT) -> Mapping[str, str]:
    """Return what the first address that fits a pattern says: texts, by field of an event."""
    for text in addresses:
        address = bare_address(text).strip()
        if len(address) > _MAX_ADDRESS_CHARACTERS:
            continue
        if match := pattern.fullmatch(address):
            fields = {
                FIELDS_BY_GROUP[group]: value for group, value in match.groupdict().items() if value
            }
            if fields:
                return fields | {
                    name: _decoded_recipient(value)
                    for name, value in fields.items()
                    if name == "recipient"
                }
    return {}


def verp_headers(addresses: Iterable[str], pattern: str) -> dict[str, str]:
    """Return the record header with what a publisher's own pattern reads of some addresses.

    Nothing for '', which stands for the default pattern: that one is tried when a record is read.
    """
    if not pattern:
        return {}
    fields = verp_fields(addresses, compile_pattern(pattern))
    return {QUERY_HEADER: urlencode(fields)} if fields else {}


def _decoded_recipient(text: str) -> str:
    """Return `user=domain` as an address; what is one already stays."""
    if "@" in text:
        return text
    user, _, domain = text.rpartition("=")
    return f"{user}@{domain}" if user else text
