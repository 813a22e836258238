"""Times as providers write them, as UTC in whole milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from schemas.events import EPOCH, MAX_EVENT_TIME, MIN_EVENT_TIME
from schemas.providers._rejections import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.events import EventFields

#: From here on, a count since 1970 is in milliseconds; below, in seconds (up to the year 5138).
MIN_EPOCH_MILLISECONDS: Final = 100_000_000_000
_ZONE_SUFFIX: Final = re.compile(r"(?:[Zz]|[+-]\d\d:?\d\d)$")


def epoch_time(value: float | str) -> datetime:
    """Return a count since 1970 as UTC in whole milliseconds, rounded down.

    It is read as milliseconds from `MIN_EPOCH_MILLISECONDS` on, else as seconds. Raises
    `UnreadableError` for what is no number, or no time from 1990 to 2099.
    """
    try:
        count = float(value)
        # A float's error must not push a whole millisecond below itself.
        whole = int(count if count >= MIN_EPOCH_MILLISECONDS else count * 1000 + 0.0005)
        time = EPOCH + timedelta(milliseconds=whole)
    except (OverflowError, ValueError):
        raise UnreadableError(f"time {str(value)[:40]!r} is not a count since 1970") from None
    if not MIN_EVENT_TIME <= time < MAX_EVENT_TIME:
        raise UnreadableError(f"time {str(value)[:40]!r} is outside 1990 to 2099")
    return time


def iso_time(text: str) -> datetime:
    """Return an ISO 8601 time as UTC in whole milliseconds, rounded down.

    Raises `UnreadableError` for anything else, and for a time without a zone: use `utc_time` for a
    provider that documents its times as UTC.
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


def utc_time(text: str) -> datetime:
    """Return an ISO 8601 time as `iso_time` does; without a zone it is taken as UTC."""
    return iso_time(text if _ZONE_SUFFIX.search(text) else text.strip() + "Z")


def reported_time(value: float | str | None, read: Callable[[Any], datetime]) -> EventFields:
    """Return the time of an event; none if it is missing or unreadable, so the record's counts."""
    if not value:
        return {}
    try:
        return {"occurred_at": read(value)}
    except UnreadableError:
        return {}
