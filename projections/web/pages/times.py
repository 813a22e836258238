"""Times as a page shows them: in the zone and the form of whoever looks at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from markupsafe import Markup

from projections.web.auth import UTC_ZONE
from projections.web.pages.auth import PageCaller
from schemas.events import iso_milliseconds


class TimeForm(NamedTuple):
    """How a language writes times: patterns of `str.format`, of a time and its `hour` (1 to 12)."""

    day: str
    minute: str
    second: str


_FORMS: Final[Mapping[str, TimeForm]] = {
    "en": TimeForm(
        "{0.day} {0:%B} {0.year}", "{0.day} {0:%b} {0.year}, {0:%H:%M}",
        "{0.day} {0:%b} {0.year}, {0:%H:%M:%S}",
    ),
    "en-us": TimeForm(
        "{0:%B} {0.day}, {0.year}", "{0:%b} {0.day}, {0.year}, {hour}:{0:%M} {0:%p}",
        "{0:%b} {0.day}, {0.year}, {hour}:{0:%M:%S} {0:%p}",
    ),
}  # fmt: skip
NO_VALUE: Final = Markup('<span class="none">—</span>')
_reader: ContextVar[tuple[ZoneInfo, TimeForm]] = ContextVar(
    "reader", default=(UTC_ZONE, _FORMS["en"])
)


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(available_timezones())


@contextmanager
def times_for(caller: PageCaller | None) -> Iterator[None]:
    """Within it, times are shown as a caller reads them; without one in UTC."""
    if caller is None:
        yield
        return
    languages = (caller.locale.lower(), caller.locale.lower().partition("-")[0], "en")
    form = next(_FORMS[language] for language in languages if language in _FORMS)
    token = _reader.set((caller.time_zone, form))
    try:
        yield
    finally:
        _reader.reset(token)


def time_element(time: datetime | None, *, seconds: bool = False) -> Markup:
    """Return a time for people, as "3 Mar 2026, 23:05", and exactly for programs.

    In UTC it is the title.
    """
    if time is None:
        return NO_VALUE
    zone, form = _reader.get()
    text = _text(time.astimezone(zone), form.second if seconds else form.minute)
    return Markup('<time datetime="{}" title="{:%Y-%m-%d %H:%M:%S} UTC">{}</time>').format(
        iso_milliseconds(time.astimezone(UTC)), time.astimezone(UTC), text
    )


def date_element(time: datetime) -> Markup:
    """Return the day of a time for people, as "3 March 2026"."""
    zone, form = _reader.get()
    text = _text(time.astimezone(zone), form.day)
    return Markup('<time datetime="{}">{}</time>').format(
        iso_milliseconds(time.astimezone(UTC)), text
    )


def _text(time: datetime, pattern: str) -> str:
    return pattern.format(time, hour=time.hour % 12 or 12)
