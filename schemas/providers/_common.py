"""What several adapters need: our ids out of a sender's metadata, times, addresses, forms."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from schemas.providers import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.events import Fields

_ATTEMPT: Final = re.compile(r"[1-9][0-9]{0,3}")

#: The names under which a mailer hands its ids to a provider, which hands them back.
OURS: Final = frozenset(
    {"tenant_id", "message_id", "record_type", "record_id", "campaign", "attempt"}
)


def echo(metadata: Mapping[str, str]) -> Fields:
    """Return the fields that a sender's metadata gives back; whatever is not ours is left out."""
    fields: Fields = {name: value for name, value in metadata.items() if value and name in OURS}
    attempt = fields.pop("attempt", None)
    if isinstance(attempt, str) and _ATTEMPT.fullmatch(attempt):
        fields["attempt"] = int(attempt)
    return fields


def instant(text: str) -> datetime:
    """Return an ISO 8601 time as UTC in whole milliseconds, rounded down.

    Raises `UnreadableError` for anything else, and for a time without a zone: a provider that
    documents its times as UTC without writing so has to be read with the zone added.
    """
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not UTC and time.tzinfo is not None:
            time = time.astimezone(UTC)
    except (OverflowError, ValueError):
        raise UnreadableError(f"time {text[:40]!r} is not ISO 8601") from None
    if time.tzinfo is None:
        raise UnreadableError(f"time {text[:40]!r} has no zone")
    below = time.microsecond % 1000
    return time.replace(microsecond=time.microsecond - below) if below else time


def bare(address: str) -> str:
    """Return an address without a display name: `a@x.com` for `Ann <a@x.com>`."""
    if "<" in address:
        return address[address.rfind("<") + 1 :].partition(">")[0]
    return address


def form(body: str, wanted: frozenset[str] | None = None) -> dict[str, str]:
    """Return the fields of a form body or query string, or the `wanted` ones; the last of each.

    Several times as fast as `urllib.parse.parse_qsl`, since most values need no decoding.
    """
    fields: dict[str, str] = {}
    for pair in body.split("&"):
        name, _, value = pair.partition("=")
        if "%" in name or "+" in name:
            name = unquote_plus(name)
        if wanted is None or name in wanted:
            fields[name] = unquote_plus(value) if "%" in value or "+" in value else value
    return fields
