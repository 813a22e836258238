"""Filters and listings: every value is bound, and what cannot be asked is said."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from projections.queries import Filter, Listing, QueryError, listing_sql


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
