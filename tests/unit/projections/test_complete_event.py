"""What an event leaves out is what the event store has there: the default of the column."""

from __future__ import annotations

import pytest

from projections.status import complete_event
from projections.tables.events import TABLE
from schemas.events import EPOCH


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("subject", ""), ("kind", ""), ("smtp_code", 0), ("source_offset", 0), ("attempt", 1),
        ("late", False), ("machine", None), ("due_at", None), ("tags", []), ("occurred_at", EPOCH),
    ],
)  # fmt: skip
def test_what_an_event_leaves_out_is_the_default_of_its_column(column, value):
    for event in ({}, {column: None}):
        complete = complete_event(event)
        assert complete[column] == value
        assert type(complete[column]) is type(value)
        assert set(complete) == set(TABLE.columns)
