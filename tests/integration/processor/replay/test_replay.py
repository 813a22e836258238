"""Rows derived again from raw records are the log's; other adapters change what they read."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from processor.replay.message import replay_message
from processor.replay.preview import Preview
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.queries import raw_records
from projections.tables import log_of
from schemas.events import EPOCH
from schemas.providers import adapters
from tests.clickhouse import connect_to
from tests.raw_history import decoder, demo_records, put_history

MESSAGES = 2_000


@pytest.fixture(scope="module")
def history(engine):
    """A past of a few thousand messages, of which copies are merged or not."""
    client, target = connect_to(engine.url), Target("replayed")
    list(migrate(client, target))
    records = list(demo_records(MESSAGES))
    put_history(client, target.database, records)
    put_history(client, target.database, records[:3_000])  # a worker was killed
    yield SimpleNamespace(client=client, database=target.database, records=records)
    client.command(f"DROP DATABASE {target.database} SYNC")


def previewed(history, **options):
    preview = Preview()
    steps = list(preview.compare(history.client, history.database, decoder(), **options))
    return preview, steps


def rows_of_log(history, name):
    return [
        tuple(row)
        for row in history.client.query(
            f"SELECT message_id, recipient, status FROM {history.database}.{name}"
        ).result_rows
    ]


def statuses(history):
    return {
        (name, *row[:2]): row[2]
        for name in ("email_log", "sms_log") for row in rows_of_log(history, name)
    }  # fmt: skip


def changed_reading(monkeypatch, provider, change):
    """Let an adapter yield what `change` makes of each of its events, None for nothing."""
    adapter = adapters()[provider]
    read = adapter.events

    def events(payload, headers):
        for event in read(payload, headers):
            if (changed := change(event)) is not None:
                yield changed

    monkeypatch.setattr(adapter, "events", events)


def test_by_the_same_adapters_nothing_differs(history, monkeypatch):
    monkeypatch.setattr(raw_records, "SLICE_RECORDS", 700)
    preview, steps = previewed(history)
    assert preview.differences == []
    assert preview.rows == []
    assert preview.records == len(history.records)
    assert preview.events == len(history.records)
    assert [step.step for step in steps] == ["records"] * len(steps)
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done <= steps[-1].total


def test_each_row_derived_again_is_the_logs(history):
    for channel in ("email", "sms"):
        log = log_of(channel)
        ids = [row[0] for row in rows_of_log(history, log.name)][:40]
        assert len(ids) == 40
        for message_id in ids:
            rows = list(
                replay_message(history.client, history.database, decoder(), log, message_id)
            )
            assert rows
            assert [row.columns for row in rows] == [()] * len(rows)
            assert all(row.is_same and not row.underived for row in rows)


def test_an_adapter_that_reads_more_shows_exactly_the_rows_that_it_changes(history, monkeypatch):
    """Clicks become opens: whatever row a click decides changes, and no other."""

    def change(event):
        return {**event, "kind": "open", "url": ""} if event["kind"] == "click" else event

    before = statuses(history)
    changed_reading(monkeypatch, "ses", change)
    preview, _ = previewed(history, provider="ses")
    assert {count.source for count in preview.differences} == {"ses"}
    assert {count.change for count in preview.differences} == {"other"}
    assert statuses(history) == before  # nothing is written
    # The oracle: the same history, read by the changed adapter from the beginning.
    target = Target("replayed_by_others")
    list(migrate(history.client, target))
    put_history(history.client, target.database, history.records)
    other = SimpleNamespace(client=history.client, database=target.database)
    after = statuses(other)
    columns = "* EXCEPT (first_recorded_at)"
    changed = {}
    for name in ("email_log", "sms_log"):
        sql = (
            f"SELECT old.status, new.status, count() FROM (SELECT {columns}, toString(tuple(*)) "
            f"AS whole FROM {history.database}.{name}) AS old JOIN (SELECT {columns}, "
            f"toString(tuple(*)) AS whole FROM {other.database}.{name}) AS new "
            "USING (tenant_id, message_id, recipient) WHERE old.whole != new.whole GROUP BY 1, 2"
        )
        for was, now, count in history.client.query(sql).result_rows:
            changed[name, was, now] = count
    assert before.keys() == after.keys()
    assert {row[:3]: row.rows for row in preview.rows} == changed
    assert changed
    history.client.command(f"DROP DATABASE {target.database} SYNC")


def test_events_that_an_adapter_reads_no_more_are_gone_and_new_ones_new(history, monkeypatch):
    def change(event):
        if event["kind"] == "bounce":
            return None
        return event

    bounces = (
        f"SELECT uniqExact(event_id) FROM {history.database}.events "
        "WHERE kind = 'bounce' AND source_topic = 'email.events.ses'"
    )
    [(count,)] = history.client.query(bounces).result_rows
    changed_reading(monkeypatch, "ses", change)
    preview, _ = previewed(history)
    [gone] = preview.differences
    assert (gone.source, gone.change, gone.columns) == ("ses", "gone", ())
    assert gone.events == count
    example = preview.examples[0]
    assert (example.topic, example.kind) == ("email.events.ses", "bounce")
    monkeypatch.undo()
    # The other way round: what is stored lacks them.
    target = Target("replayed_without")
    list(migrate(history.client, target))
    with monkeypatch.context() as before:
        changed_reading(before, "ses", change)
        put_history(history.client, target.database, history.records)
    other = SimpleNamespace(client=history.client, database=target.database)
    # A record that gave nothing has no raw record: what it would give nobody knows.
    assert previewed(other)[0].differences == []
    history.client.command(f"DROP DATABASE {target.database} SYNC")


def test_a_preview_of_another_provider_or_a_later_time_reads_nothing_else(history, monkeypatch):
    changed_reading(monkeypatch, "ses", lambda event: {**event, "diagnostic": "changed"})
    preview, _ = previewed(history, provider="twilio")
    assert preview.records
    assert preview.differences == []
    whole, _ = previewed(history, provider="ses")
    since = max(record.timestamp for record in history.records if "ses" in record.topic)
    hour_before = EPOCH + timedelta(milliseconds=since) - timedelta(hours=1)
    late, _ = previewed(history, provider="ses", since=hour_before)
    assert 0 < late.records < whole.records


def test_what_has_no_raw_record_any_more_is_named(history):
    log = log_of("email")
    [(message_id, topic, partition, offset)] = history.client.query(
        "SELECT message_id, source_topic, source_partition, source_offset "
        f"FROM {history.database}.events WHERE channel = 'email' AND kind = 'sent' "
        "ORDER BY occurred_at LIMIT 1"
    ).result_rows
    history.client.command(
        f"DELETE FROM {history.database}.raw_records WHERE topic = '{topic}' "
        f"AND partition = {partition} AND offset = {offset}",
        settings={"lightweight_deletes_sync": 2},
    )
    rows = list(replay_message(history.client, history.database, decoder(), log, message_id))
    assert any(not row.is_same for row in rows)
    missing = [event for row in rows for event in row.underived]
    assert ("sent", (topic, partition, offset), False) in [
        (event.kind, event.place, event.has_record) for event in missing
    ]
    put_history(
        history.client, history.database,
        [record for record in history.records if record[:3] == (topic, partition, offset)],
    )  # fmt: skip
    assert list(replay_message(history.client, history.database, decoder(), log, "no such")) == []
