"""Times as a page shows them: in the zone and the form of whoever looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime
from functools import cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from babel import Locale
from markupsafe import Markup

from projections.web.auth import UTC_ZONE
from projections.web.pages.auth import MACHINE_ZONE, PageCaller
from projections.web.pages.typed_words import is_month_first
from projections.web.translation import Reader, current_reader
from schemas.events import iso_milliseconds

NO_VALUE: Final = Markup('<span class="none">—</span>')
_zone: ContextVar[ZoneInfo] = ContextVar("zone", default=UTC_ZONE)


class TimeForm(NamedTuple):
    """How a locale writes times: patterns of `str.format`, of a time and its words.

    Those are `month`, its name, `hour` from 1 to 12, and `half` of the day, as PM.
    """

    long_day: str
    medium_day: str
    short_day: str
    minute: str
    second: str
    months: tuple[str, ...]
    short_months: tuple[str, ...]
    halves: tuple[str, str]


_ENGLISH: Final = Locale("en")
#: Where a day with the whole name of its month has more words than a short one.
_LONG_DAYS: Final = {"es": "{0.day} de {month} de {0.year}"}


@cache
def _form_of(reader: Reader) -> TimeForm:
    """Return the form of a locale, by what the CLDR says of it; names are those of its language."""
    locale = reader.locale
    names = Locale(locale.language)
    if locale == _ENGLISH:  # of no country: a form that nobody misreads
        locale = Locale("en", "GB")
    if "h" in locale.time_formats["short"].pattern:
        minute, second = "{hour}:{0:%M} {half}", "{hour}:{0:%M:%S} {half}"
    else:
        minute, second = "{0:%H:%M}", "{0:%H:%M:%S}"
    short = "{month} {0.day}" if is_month_first(locale) else "{0.day} {month}"
    medium = f"{short}, {{0.year}}" if is_month_first(locale) else f"{short} {{0.year}}"
    months = names.months["format"]
    halves = locale.day_periods["format"]["abbreviated"]
    return TimeForm(
        long_day=_LONG_DAYS.get(locale.language, medium), medium_day=medium, short_day=short,
        minute=f"{medium}, {minute}", second=f"{medium}, {second}",
        months=tuple(months["wide"][number] for number in range(1, 13)),
        short_months=tuple(months["abbreviated"][number] for number in range(1, 13)),
        halves=(_of_one_line(halves["am"]), _of_one_line(halves["pm"])),
    )  # fmt: skip


def _of_one_line(text: str) -> str:
    return "".join(text.split())


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all time zones, without that of the machine."""
    return frozenset(available_timezones() - {MACHINE_ZONE})


@contextmanager
def times_for(caller: PageCaller | None) -> Iterator[None]:
    """Within it, times are shown in the zone of a caller; without one in UTC."""
    token = _zone.set(caller.time_zone if caller else UTC_ZONE)
    try:
        yield
    finally:
        _zone.reset(token)


def time_element(time: datetime | None, *, seconds: bool = False) -> Markup:
    """Return a time for people, as "3 Mar 2026, 23:05", and exactly for programs.

    In UTC it is the title.
    """
    if time is None:
        return NO_VALUE
    form = _form_of(current_reader())
    text = _text(time.astimezone(_zone.get()), form.second if seconds else form.minute)
    utc = time.astimezone(UTC)
    return Markup('<time datetime="%s" title="%s UTC">%s</time>') % (
        iso_milliseconds(utc),
        f"{utc:%Y-%m-%d %H:%M:%S}",
        text,
    )


def date_element(time: datetime) -> Markup:
    """Return the day of a time for people, as "3 March 2026"."""
    form = _form_of(current_reader())
    local = time.astimezone(_zone.get())
    text = form.long_day.format(local, month=form.months[local.month - 1])
    return Markup('<time datetime="{}">{}</time>').format(
        iso_milliseconds(time.astimezone(UTC)), text
    )


def local_time_text(time: datetime) -> str:
    """Return a time for people, as "3 Mar 2026, 23:05"."""
    return _text(time.astimezone(_zone.get()), _form_of(current_reader()).minute)


def short_day(day: date) -> str:
    """Return a day of this year for people, as "3 Mar"."""
    form = _form_of(current_reader())
    return form.short_day.format(day, month=form.short_months[day.month - 1])


def medium_day(day: date) -> str:
    """Return a day for people, as "3 Mar 2026"."""
    form = _form_of(current_reader())
    return form.medium_day.format(day, month=form.short_months[day.month - 1])


def _text(time: datetime, pattern: str) -> str:
    form = _form_of(current_reader())
    return pattern.format(
        time, month=form.short_months[time.month - 1], hour=time.hour % 12 or 12,
        half=form.halves[time.hour >= 12],
    )  # fmt: skip
