from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest

from projections.queries.days import by_day, day_filters, day_of
from projections.queries.listing import Filter, QueryError
from projections.tables import log_of

TODAY = date(2026, 11, 30)  # a Monday
THE_25TH = date(2026, 11, 25)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-25", "25 Nov", "25 nov 2026", "Nov 25", "November 25, 2026", "25th November",
        "11/25/2026", "25.11.2026", " 25  Nov. ", "Nov 25th 2026", "25. Nov", "wednesday",
    ],
)  # fmt: skip
def test_a_day_is_read_as_people_type_it(text):
    assert day_of(text, TODAY) == THE_25TH


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("6 days ago", date(2026, 11, 24)), ("1 Day ago", date(2026, 11, 29)),
        ("today", TODAY), ("Yesterday", date(2026, 11, 29)), ("Monday", TODAY),
        ("1 Dec", date(2026, 12, 1)), ("2 Dec", date(2025, 12, 2)), ("29 Feb", date(2024, 2, 29)),
        ("3/4/2026", date(2026, 3, 4)), ("3.4.2026", date(2026, 4, 3)),
    ],
)  # fmt: skip
def test_a_day_without_a_year_is_the_latest(text, day):
    assert day_of(text, TODAY) == day


@pytest.mark.parametrize(
    "text",
    [
        "", "invoice", "25", "31 Feb 2026", "2026-13-01", "0 Nov", "25 Nov invoice",
        "2026-11-25T10:00", "13/13/2026", "may", "nov",
    ],
)  # fmt: skip
def test_what_is_no_day_is_none(text):
    assert day_of(text, TODAY) is None


START, END = "2026-11-25T00:00:00", "2026-11-26T00:00:00"


@pytest.mark.parametrize(
    ("operator", "bounds"),
    [
        ("=", [(">=", START), ("<", END)]), (">=", [(">=", START)]), (">", [(">=", END)]),
        ("<=", [("<", END)]), ("<", [("<", START)]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("column", ["date", "delivered_at"])
def test_a_day_in_a_filter_is_all_of_it(operator, bounds, column):
    filters = by_day(log_of("email"), [Filter(column, operator, "25 Nov")], TODAY)
    assert [(each.column, each.operator, each.value) for each in filters] == [
        (column, *bound) for bound in bounds
    ]


def test_other_filters_stay():
    filters = [
        Filter("subject", "=", "today"), Filter("date", ">", "2026-11-25T10:00"),
        Filter("date", "~", "2026-11-25"), Filter("none", "=", "today"),
    ]  # fmt: skip
    assert list(by_day(log_of("email"), filters, TODAY)) == filters


@pytest.mark.parametrize(("operator", "text"), [("!=", "today"), ("<=", "9999-12-31")])
def test_a_day_that_cannot_be_asked_for_is_an_error(operator, text):
    with pytest.raises(QueryError, match="'date'"):
        list(by_day(log_of("email"), [Filter("date", operator, text)], TODAY))


@pytest.mark.parametrize(
    ("zone", "day", "start", "end"),
    [
        ("America/Chicago", date(2026, 11, 25), "2026-11-25T06:00:00", "2026-11-26T06:00:00"),
        ("America/Chicago", date(2026, 11, 1), "2026-11-01T05:00:00", "2026-11-02T06:00:00"),
        ("America/Chicago", date(2026, 3, 8), "2026-03-08T06:00:00", "2026-03-09T05:00:00"),
        # Midnight is left out there: the day begins at one o'clock.
        ("America/Santiago", date(2026, 9, 6), "2026-09-06T04:00:00", "2026-09-07T03:00:00"),
        ("Pacific/Kiritimati", date(2026, 1, 1), "2025-12-31T10:00:00", "2026-01-01T10:00:00"),
    ],
)
def test_a_day_of_a_zone_is_all_of_it_also_when_clocks_change(zone, day, start, end):
    filters = day_filters("date", day, ZoneInfo(zone))
    assert [(each.operator, each.value) for each in filters] == [(">=", start), ("<", end)]
    last = Filter("date", "<=", str(day))
    [until] = by_day(log_of("email"), [last], day, ZoneInfo(zone))
    assert (until.operator, until.value) == ("<", end)
