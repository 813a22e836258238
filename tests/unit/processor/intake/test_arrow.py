"""Events become the same rows whichever way they are turned over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from processor.intake import arrow
from processor.intake.arrow import SCHEMA, table_of

AT = datetime(2026, 11, 2, 9, 0, 0, 123_999, UTC)
THERE = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))


def events():
    """Return events of several shapes, most of one."""
    fact = {
        "channel": "email", "kind": "sent", "tenant_id": "acme", "message_id": "m",
        "recipient": "jo@example.com", "occurred_at": AT, "recorded_at": 1_790_000_000_000,
        "source_offset": 0, "unknown": "left out",
    }  # fmt: skip
    bounce = {**fact, "kind": "bounce", "smtp_code": 550, "occurred_at": THERE, "tags": ["a", "b"]}
    known = {**fact, "event_id": "0" * 32, "machine": True, "due_at": AT, "subject": None}
    many = [fact | {"message_id": f"m{number}"} for number in range(5)]
    return [
        {**each, "source_offset": offset}
        for offset, each in enumerate([*many, bounce, known, bounce | {"attempt": 2}])
    ]


@pytest.mark.parametrize("few", [1, 3, 100])
def test_by_column_and_by_event_rows_are_the_same(monkeypatch, few):
    given = events()
    expected = [event.get("event_id") for event in given]
    monkeypatch.setattr(arrow, "_FEW", few)
    table = table_of(given, "email.sends", 3).sort_by("source_offset")
    assert table.schema == SCHEMA
    monkeypatch.setattr(arrow, "_FEW", 2)
    assert table.equals(table_of(events(), "email.sends", 3).sort_by("source_offset"))
    ids = [event["event_id"] for event in given]
    assert [identity.decode() for identity in table["event_id"].to_pylist()] == ids
    assert [old or new for old, new in zip(expected, ids, strict=True)] == ids
    assert set(table["source_topic"].to_pylist()) == {b"email.sends"}
    assert set(table["source_partition"].to_pylist()) == {3}
    assert table["occurred_at"].to_pylist()[5] == AT.replace(microsecond=123_000)


def test_no_events_are_no_rows():
    assert table_of([], "email.sends", 0).equals(SCHEMA.empty_table())
