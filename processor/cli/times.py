"""Times as options take them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from projections.queries.days import day_of
from projections.queries.listing import QueryError

_SPAN: Final = re.compile(r"(\d{1,4})(min|h|d|w)")
_UNITS: Final = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def relative_time(text: str, now: datetime) -> datetime | None:
    """Return the time so long ago as a text says: 30min, 12h, 7d, 2w; None if it says nothing."""
    span = _SPAN.fullmatch(text.strip().lower())
    return now - timedelta(**{_UNITS[span[2]]: int(span[1])}) if span else None


def parse_since(text: str | None, option: str = "--since") -> datetime | None:
    """Return the time of an option as UTC: a time, a day, as yesterday, or so long ago.

    Raises `QueryError` if it is none.
    """
    if text is None:
        return None
    now = datetime.now(UTC)
    if (time := relative_time(text, now)) is not None:
        return time
    if day := day_of(text, now.date()):
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(
            f"{option} {text!r} is no time; write it as 2026-11-24T10:00, yesterday or 7d"
        ) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
