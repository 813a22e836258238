"""Filters and listings: every value is bound, and what cannot be asked is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from projections.queries.listing import (
    Filter,
    Listing,
    QueryError,
    listing_sql,
    place_of,
    searching_sql,
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("status=Bounce", ("status", "=", "Bounce")),
        ("subject~a=b", ("subject", "~", "a=b")),
        ("open_count >= 2", ("open_count", ">=", "2")),
        ("date<2026-11-01", ("date", "<", "2026-11-01")),
        ("status!=Sent", ("status", "!=", "Sent")),
        ("campaign=", ("campaign", "=", "")),
    ],
)
def test_a_filter_is_read_at_its_first_operator(text, parts):
    one = Filter.parse(text)
    assert (one.column, one.operator, one.value) == parts


def test_values_are_bound_never_pasted():
    hostile = "x'; DROP TABLE events; --"
    sql, values = listing_sql(
        Listing(
            channel="email", tenant=hostile, as_of=datetime(2026, 11, 1, tzinfo=UTC),
            filters=[Filter("subject", "~", hostile), Filter("tags", "=", hostile)],
        ),
        "sendlog",
    )  # fmt: skip
    assert hostile not in sql
    assert list(values.values()).count(hostile) == 3


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        ({"filters": [Filter("nope", "=", "1")]}, "no column 'nope' in email_log"),
        ({"filters": [Filter("date", ">", "soon")]}, "takes a date or time"),
        ({"filters": [Filter("open_count", "=", "many")]}, "takes a whole number"),
        ({"filters": [Filter("conflict", "=", "maybe")]}, "takes true or false"),
        ({"filters": [Filter("tags", ">", "x")]}, "is a list"),
        ({"sort": "colour"}, "sort by date, recipient, status"),
    ],
)
def test_what_cannot_be_asked_is_named(listing, words):
    with pytest.raises(QueryError, match=words):
        listing_sql(Listing(channel="email", tenant="t", **listing), "sendlog")


def test_a_filter_without_an_operator_is_named():
    with pytest.raises(QueryError, match="has no operator"):
        Filter.parse("bounced")


def test_rows_to_search_in_are_of_the_log_now_and_not_of_the_log_as_it_was():
    now = Listing(channel="email", tenant="t")
    then = replace(now, as_of=datetime(2026, 11, 1, tzinfo=UTC))
    for listing, uses_them in ((now, True), (then, False)):
        sql, _ = searching_sql(
            listing, "sendlog", lambda _: "has_text", lambda _: "SELECT * FROM rows_of_now"
        )
        assert ("rows_of_now" in sql) == uses_them
        assert "has_text" in sql


ROW = {
    "date": datetime(2026, 11, 1, 9, tzinfo=UTC), "message_id": "m1", "recipient": "a@example.com",
    "status": "Open",
}  # fmt: skip


@pytest.mark.parametrize("sort", ["date", "recipient", "status"])
def test_the_place_of_a_row_is_its_value_and_what_tells_it_from_others(sort):
    place = place_of(Listing(channel="email", tenant="t", sort=sort), ROW)
    assert place == (ROW[sort], ROW["date"], "m1", "a@example.com")


@pytest.mark.parametrize(
    ("sort", "descending", "words"),
    [
        ("date", True, "(date < {p1:"),
        ("date", False, "(date > {p1:"),
        ("recipient", True, "(recipient < {p4:"),
        ("status", False, "(status > {p4:"),
    ],
)
def test_a_page_begins_after_a_row_in_the_direction_of_its_listing(sort, descending, words):
    listing = Listing(channel="email", tenant="t", sort=sort, descending=descending)
    sql, values = listing_sql(replace(listing, after=place_of(listing, ROW)), "sendlog")
    assert words in sql
    # Within one value of the column sorted by, the newest come first.
    assert sort == "date" or "(date < {p1:" in sql
    assert "(message_id, recipient) > ({p2:String}, {p3:String})" in sql
    assert {"m1", "a@example.com"} <= set(values.values())
