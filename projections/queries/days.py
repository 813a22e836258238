"""Days as people type them, and filters by a day: all of it, not its midnight."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from projections.column_types import base_type
from projections.queries.listing import CONTAINS, Filter, QueryError
from projections.tables import Projection

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
_MONTH_NAME: Final = rf"(?P<name>{'|'.join(_MONTHS)})[a-z]*\.?"
_YEAR: Final = r"(?P<year>\d{4})"
#: How a day may be written; with slashes the month comes first, with dots the day.
_FORMS: Final = tuple(
    re.compile(form) for form in (
        rf"{_YEAR}-(?P<month>\d\d?)-(?P<day>\d\d?)",
        rf"(?P<month>\d\d?)/(?P<day>\d\d?)/{_YEAR}",
        rf"(?P<day>\d\d?)\.(?P<month>\d\d?)\.{_YEAR}",
        rf"(?P<day>\d\d?)(?:st|nd|rd|th)?\.? {_MONTH_NAME}(?:,? {_YEAR})?",
        rf"{_MONTH_NAME} (?P<day>\d\d?)(?:st|nd|rd|th)?(?:,? {_YEAR})?",
    )
)  # fmt: skip
#: What a comparison with a day compares with: its beginning, or the end of it.
_BOUNDS: Final = {
    "=": ((">=", 0), ("<", 1)), ">=": ((">=", 0),), "<": (("<", 0),), ">": ((">=", 1),),
    "<=": (("<", 1),),
}  # fmt: skip


def day_of(text: str, today: date) -> date | None:
    """Return the day that a text names, or None.

    As "25 Nov", "Nov 25, 2026", "11/25/2026", "25.11.2026", "2026-11-25", "today", "Monday".
    Without a year it is the latest such day up to tomorrow, which has begun already somewhere.
    """
    text = " ".join(text.lower().split())
    if text in ("today", "yesterday"):
        return today - _DAY * (text == "yesterday")
    if text in _WEEKDAYS:
        return today - _DAY * ((today.weekday() - _WEEKDAYS.index(text)) % 7)
    for form in _FORMS:
        if match := form.fullmatch(text):
            return _date_of(match.groupdict(), today)
    return None


def _date_of(parts: dict[str, str | None], today: date) -> date | None:
    name = parts.get("name")
    month = _MONTHS.index(name) + 1 if name else int(parts["month"] or 0)
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
    log: Projection, filters: Iterable[Filter], today: date, zone: tzinfo = UTC
) -> Iterator[Filter]:
    """Yield filters, those of a time that name a day as filters by its beginning and end.

    So `date<=2026-11-25` keeps what is of the 25th, from midnight to midnight of the zone.
    Raises `QueryError` for a day with `!=`.
    """
    for filter_ in filters:
        column = log.columns.get(filter_.column)
        is_time = column is not None and base_type(column.kind).startswith("DateTime")
        day = day_of(filter_.value, today) if is_time and filter_.operator != CONTAINS else None
        if day is None:
            yield filter_
        elif filter_.operator not in _BOUNDS:
            raise QueryError(f"{filter_.column!r} and a day take {' '.join(_BOUNDS)}")
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
            raise QueryError(f"{filter_.column!r} takes no day so late: {day}") from None
        yield replace(filter_, operator=operator, value=at.replace(tzinfo=None).isoformat())
