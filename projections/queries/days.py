"""Days as people type them, and filters by a day: all of it, not its midnight."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final
from unicodedata import combining, normalize

from projections.column_types import base_type
from projections.queries.listing import CONTAINS, Filter, QueryError
from projections.tables import Projection
from schemas.words import Words

_DAY: Final = timedelta(days=1)
_MONTHS: Final = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH_NAME: Final = r"(?P<name>[^\W\d_]+)\.?"
_YEAR: Final = r"(?P<year>\d{4})"
_MONTH_FIRST: Final = re.compile(rf"(?P<month>\d\d?)/(?P<day>\d\d?)/{_YEAR}")
_DAY_FIRST: Final = re.compile(rf"(?P<day>\d\d?)/(?P<month>\d\d?)/{_YEAR}")
#: How a day may be written, besides with slashes; with dots the day comes first.
_FORMS: Final = tuple(
    re.compile(form) for form in (
        rf"{_YEAR}-(?P<month>\d\d?)-(?P<day>\d\d?)",
        rf"(?P<day>\d\d?)\.(?P<month>\d\d?)\.{_YEAR}",
        rf"(?P<day>\d\d?)(?:st|nd|rd|th)?\.? {_MONTH_NAME}(?:,? {_YEAR})?",
        rf"{_MONTH_NAME} (?P<day>\d\d?)(?:st|nd|rd|th)?(?:,? {_YEAR})?",
    )
)  # fmt: skip
#: At most 27 years.
DAYS_AGO: Final = re.compile(r"(\d{1,4}) days? ago", re.ASCII)
#: What a comparison with a day compares with: its beginning, or the end of it.
_BOUNDS: Final = {
    "=": ((">=", 0), ("<", 1)), ">=": ((">=", 0),), "<": (("<", 0),), ">": ((">=", 1),),
    "<=": (("<", 1),),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DayWords:
    """Words for days that people type besides the English ones, as `plain_text` has them.

    `months` are numbers from 1, `weekdays` from 0 for Monday, `recent` how many days ago a day is;
    `fillers` mean nothing, as in "25 de noviembre". With slashes the day comes first, or the month.
    """

    months: Mapping[str, int] = field(default_factory=dict)
    weekdays: Mapping[str, int] = field(default_factory=dict)
    recent: Mapping[str, int] = field(default_factory=dict)
    fillers: Collection[str] = ()
    is_day_first: bool = False


ENGLISH_DAYS: Final = DayWords()
_ENGLISH_RECENT: Final[Mapping[str, int]] = {"today": 0, "yesterday": 1}


def plain_text(text: str) -> str:
    """Return a text in lower case, without accents and dots, with single spaces."""
    letters = normalize("NFD", text.lower().replace(".", " "))
    return " ".join("".join(each for each in letters if not combining(each)).split())


def day_of(text: str, today: date, words: DayWords = ENGLISH_DAYS) -> date | None:
    """Return the day that a text names, or None.

    As "25 Nov", "Nov 25, 2026", "11/25/2026", "25.11.2026", "2026-11-25", "today", "6 days ago",
    "Monday".
    Without a year it is the latest such day up to tomorrow, which has begun already somewhere.
    """
    plain = plain_text(text)
    recent = {**words.recent, **_ENGLISH_RECENT}
    if plain in recent:
        return today - _DAY * recent[plain]
    if match := DAYS_AGO.fullmatch(plain):
        return today - _DAY * int(match[1])
    weekdays = {**words.weekdays, **{name: place for place, name in enumerate(_WEEKDAYS)}}
    if plain in weekdays:
        return today - _DAY * ((today.weekday() - weekdays[plain]) % 7)
    kept = (word for word in text.lower().split() if word not in words.fillers)
    text = " ".join(kept)
    for form in (*_FORMS, _DAY_FIRST if words.is_day_first else _MONTH_FIRST):
        if match := form.fullmatch(text):
            return _date_of(match.groupdict(), today, words)
    return None


def canonical_day(text: str, today: date, words: DayWords) -> str:
    """Return a text that means the same day to everybody: one with slashes as 2026-11-25.

    Others stay.
    """
    form = _DAY_FIRST if words.is_day_first else _MONTH_FIRST
    day = day_of(text, today, words) if form.fullmatch(text.strip()) else None
    return day.isoformat() if day else text


def _month_of(name: str, words: DayWords) -> int:
    """Return the number of a month; 0 if it is the name of none."""
    if number := words.months.get(plain_text(name)):
        return number
    return _MONTHS.index(name[:3]) + 1 if name[:3] in _MONTHS and name.isascii() else 0


def _date_of(parts: dict[str, str | None], today: date, words: DayWords) -> date | None:
    name = parts.get("name")
    month = _month_of(name, words) if name else int(parts["month"] or 0)
    day, year = int(parts["day"] or 0), parts["year"]
    years = [int(year)] if year else range(today.year + 1, today.year - 8, -1)
    for each in years:
        try:
            latest = date(each, month, day)
        except ValueError:
            continue
        if year or latest <= today + _DAY:
            return latest
    return None


def by_day(
    log: Projection, filters: Iterable[Filter], today: date, zone: tzinfo = UTC,
    words: DayWords = ENGLISH_DAYS,
) -> Iterator[Filter]:  # fmt: skip
    """Yield filters, those of a time that name a day as filters by its beginning and end.

    So `date<=2026-11-25` keeps what is of the 25th, from midnight to midnight of the zone.
    Raises `QueryError` for a day with `!=`.
    """
    for filter_ in filters:
        column = log.columns.get(filter_.column)
        is_time = column is not None and base_type(column.kind).startswith("DateTime")
        names_day = is_time and filter_.operator != CONTAINS
        day = day_of(filter_.value, today, words) if names_day else None
        if day is None:
            yield filter_
        elif filter_.operator not in _BOUNDS:
            operators = " ".join(_BOUNDS)
            raise QueryError(
                Words(
                    "%(name)r and a day take %(operators)s",
                    name=filter_.column,
                    operators=operators,
                )
            )
        else:
            yield from _bounds(filter_, day, zone)


def day_filters(column: str, day: date, zone: tzinfo = UTC) -> tuple[Filter, ...]:
    """Return the filters that keep what is of a day of a zone."""
    return tuple(_bounds(Filter(column, "=", ""), day, zone))


def _bounds(filter_: Filter, day: date, zone: tzinfo) -> Iterator[Filter]:
    for operator, days in _BOUNDS[filter_.operator]:
        try:
            begin = day + _DAY * days
            at = datetime(begin.year, begin.month, begin.day, tzinfo=zone).astimezone(UTC)
        except OverflowError:
            raise QueryError(
                Words("%(name)r takes no day so late: %(day)s", name=filter_.column, day=day)
            ) from None
        yield replace(filter_, operator=operator, value=at.replace(tzinfo=None).isoformat())
