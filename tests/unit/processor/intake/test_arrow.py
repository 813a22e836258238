"""Events become the same rows whether they are turned into columns together or one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from processor.intake import arrow
from processor.intake.arrow import assign_ids, group_events, table_of
from projections.clickhouse.store import arrow_schema
from projections.tables.events import TABLE
from schemas.events import fingerprint

AT = datetime(2026, 11, 2, 9, 0, 0, 123_999, UTC)
THERE = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
SCHEMA = arrow_schema(TABLE)


def events():
    """Return events of several shapes, most of one."""
    send = {
        "channel": "email", "kind": "sent", "tenant_id": "acme", "message_id": "m",
        "recipient": "jo@example.com", "occurred_at": AT, "recorded_ms": 1_790_000_000_000,
        "source_offset": 0, "unknown": "left out",
    }  # fmt: skip
    bounce = {**send, "kind": "bounce", "smtp_code": 550, "occurred_at": THERE, "tags": ["a", "b"]}
    with_id = {**send, "event_id": "0" * 32, "machine": True, "due_at": AT, "subject": None}
    same_shape = [send | {"message_id": f"m{number}"} for number in range(5)]
    return [
        {**event, "source_offset": offset}
        for offset, event in enumerate([*same_shape, bounce, with_id, bounce | {"attempt": 2}])
    ]


def grouped():
    """Return events with ids, and the table of them."""
    with_ids = events()
    groups = group_events(with_ids)
    assign_ids(groups)
    return with_ids, table_of(groups, "email.sends", 3).sort_by("source_offset")


@pytest.mark.parametrize("min_column_events", [1, 3, 100])
def test_by_column_and_by_event_rows_are_the_same(monkeypatch, min_column_events):
    monkeypatch.setattr(arrow, "MIN_COLUMN_EVENTS", min_column_events)
    with_ids, table = grouped()
    assert table.schema == SCHEMA
    monkeypatch.setattr(arrow, "MIN_COLUMN_EVENTS", 2)
    assert table.equals(grouped()[1])
    ids = [event["event_id"] for event in with_ids]
    assert [event_id.decode() for event_id in table["event_id"].to_pylist()] == ids
    assert set(table["source_topic"].to_pylist()) == {b"email.sends"}
    assert set(table["source_partition"].to_pylist()) == {3}
    assert table["occurred_at"].to_pylist()[5] == AT.replace(microsecond=123_000)
    recorded_at = {moment.timestamp() for moment in table["recorded_at"].to_pylist()}
    assert recorded_at == {1_790_000_000}


@pytest.mark.parametrize("min_column_events", [1, 3, 100])
def test_events_get_their_fingerprints_and_keep_an_id_that_they_have(
    monkeypatch, min_column_events
):
    monkeypatch.setattr(arrow, "MIN_COLUMN_EVENTS", min_column_events)
    with_ids, _ = grouped()
    for before, event in zip(events(), with_ids, strict=True):
        assert event == {**before, "event_id": before.get("event_id") or fingerprint(before)}


def test_a_table_is_made_without_changing_its_events():
    groups = group_events(events())
    assign_ids(groups)
    before = [dict(event) for group in groups for event in group.events]
    table_of(groups, "email.sends", 3)
    assert [event for group in groups for event in group.events] == before


def test_no_events_are_no_rows():
    assert table_of([], "email.sends", 0).equals(SCHEMA.empty_table())
