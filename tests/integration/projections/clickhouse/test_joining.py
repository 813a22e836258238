"""Events under a provider's id are joined to their message: on shards, and of the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from processor.intake import identity
from processor.intake.arrow import group_events, table_of
from processor.intake.decoder import Decoder
from processor.intake.identity import SECOND_LOOK_SECONDS, Identities
from processor.settings import IntakeSettings
from projections.clickhouse.ddl import UNFILLED, Target
from projections.clickhouse.joining import join_history
from projections.clickhouse.migrate import migrate
from projections.clickhouse.sql import stream
from projections.clickhouse.store import Store, insert_rows
from projections.queries.unmatched import list_unmatched
from projections.tables.events import TABLE as EVENTS
from projections.tables.unmatched import TABLE as UNMATCHED
from schemas.events import fingerprint, milliseconds
from tests.chunks import chunk_of, ses_bounce
from tests.clickhouse import connect_to

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
DAYS = timedelta(days=1)


def unmatched_reasons(log):
    """Return why events are listed as unmatched."""
    rows = list_unmatched(log.client, log.target.database, "t", since=START - DAYS, limit=9)
    return [row["reason"] for row in rows]


class Log:
    """A log that events are written to as intake writes them."""

    def __init__(self, client, target):
        self.client, self.target = client, target
        self.identities = Identities(lambda: client, target.database)

    def write(self, *events, joins=True):
        """Write events one after the other, each with all that follows."""
        for topic, event in events:
            fields = [{**event}]
            if joins and ".events." in topic:
                self.identities.resolve(fields)
            self.insert(table_of(group_events(fields), topic, 0), joins=joins)

    def insert(self, rows, *, joins=True):
        """Insert events, with all that follows."""
        insert_rows(self.client, self.target.database, EVENTS, rows)
        if joins:
            marks = self.identities.join([rows]).marks
            insert_rows(self.client, self.target.database, UNMATCHED, marks)

    def rows(self, channel="email"):
        return sorted(
            tuple(row.values()) for row in stream(
                self.client,
                "SELECT tenant_id, message_id, recipient, status "
                f"FROM {self.target.database}.{channel}_log", {},
            )
        )  # fmt: skip


@pytest.fixture(params=["one server", "two shards"])
def log(request):
    if request.param == "two shards":
        return Log(*request.getfixturevalue("cluster_database"))
    database = request.getfixturevalue("fresh_database")
    client, target = connect_to(database.url), Target(database.name)
    list(migrate(client, target))
    return Log(client, target)


def event_of(topic, fields, at):
    event = {
        "channel": topic.partition(".")[0], "tenant_id": "t", "recipient": "jo@example.com",
        "occurred_at": at, "recorded_ms": milliseconds(at), "source_offset": 1, **fields,
    }  # fmt: skip
    return topic, {**event, "event_id": fingerprint(event)}


def sent(message_id, provider_id="", at=START, **fields):
    named = {"provider_message_id": provider_id} if provider_id else {}
    return event_of(
        f"{fields.get('channel', 'email')}.sends",
        {"kind": "sent", "message_id": message_id, **named, **fields}, at,
    )  # fmt: skip


def reported(provider_id, kind="delivery", at=START, provider="ses", **fields):
    ids = {"message_id": provider_id, "provider_message_id": provider_id, "provider": provider}
    return event_of(
        f"{fields.get('channel', 'email')}.events.{provider}", {"kind": kind, **ids, **fields}, at
    )


def test_two_recipients_on_whatever_shards_keep_their_rows(log):
    people = [f"r{n}@example.com" for n in range(9)]
    log.write(*(reported("p", "open", recipient=each) for each in people[:5]))
    log.write(*(sent("m", "p", recipient=each) for each in people))
    log.write(*(reported("p", "open", recipient=each) for each in people[5:]))
    assert log.rows() == [("t", "m", each, "Open") for each in people]


def test_an_event_whose_worker_ended_before_it_looked_for_its_edge_is_joined_as_it_comes_again(log):
    log.write(reported("p"), sent("m", "p"), joins=False)
    log.write(reported("p"))
    assert log.rows() == [("t", "m", "jo@example.com", "Delivery")]
    sql = f"SELECT joined_id FROM {log.target.database}.unmatched FINAL"
    assert [row["joined_id"] for row in stream(log.client, sql, {})] == ["m"]


def test_an_insert_of_a_killed_worker_that_comes_after_all_looks_leaves_no_row(log):
    bounce = SimpleNamespace(
        topic="email.events.ses", partition=0, offset=7, timestamp=milliseconds(START), headers=(),
        value=ses_bounce(1, "Hello"),
    )  # fmt: skip
    chunk = chunk_of([bounce])._replace(is_repeated=True)
    killed, successor = (
        Decoder(IntakeSettings(default_tenant="t"), max_record_bytes=10_000, resolve=resolve)
        for resolve in (lambda _events: None, log.identities.resolve)
    )
    late = killed(chunk).events
    log.write(sent("m", "ses-1", recipient="r-0@example.com"))
    log.insert(successor(chunk).events)
    assert log.rows() == [("t", "m", "r-0@example.com", "Bounce")]
    log.insert(late, joins=False)
    assert log.rows() == [("t", "m", "r-0@example.com", "Bounce")]
    assert unmatched_reasons(log) == []


def test_what_both_sides_missed_is_joined_by_a_second_look(log, monkeypatch):
    log.write(sent("n", "q"), reported("p"), reported("r"))
    log.write(sent("m", "p"), joins=False)  # as if its look had not seen the event
    log.write(reported("q"))
    assert ("t", "p", "jo@example.com", "Delivery") in log.rows()
    monkeypatch.setattr(identity, "monotonic", lambda: monotonic() + SECOND_LOOK_SECONDS)
    with capture_logs() as lines:
        log.write(reported("q", "open"))
    assert lines == [{"event": "joined_late", "ids": 1, "log_level": "warning"}]
    assert log.rows() == [
        ("t", "m", "jo@example.com", "Delivery"), ("t", "n", "jo@example.com", "Open"),
        ("t", "r", "jo@example.com", "Delivery"),
    ]  # fmt: skip
    assert not log.identities._second_looks


def test_an_event_without_a_recipient_is_of_the_only_one(log):
    log.write(reported("p", recipient=""), sent("m", "p"), reported("p", "open", recipient=""))
    assert log.rows() == [("t", "m", "jo@example.com", "Open")]


def test_an_event_without_a_recipient_is_of_nobody_where_there_are_two(log):
    log.write(sent("m", "p"), sent("m", "p", recipient="al@example.com"))
    log.write(reported("p", recipient=""))
    assert {row[3] for row in log.rows()} == {"Sent"}


def test_an_event_that_names_its_message_finds_its_recipient(log):
    log.write(reported("p", "open", message_id="m", recipient=""), sent("m", "p"))
    log.write(reported("p", "click", message_id="m", recipient="", at=START + DAYS))
    assert log.rows() == [("t", "m", "jo@example.com", "Click")]
    assert unmatched_reasons(log) == []


def test_an_event_that_names_its_message_is_not_of_another_that_has_its_id(log):
    log.write(sent("m", "p"), sent("n"), reported("p", "open", message_id="n", recipient=""))
    assert {row[1]: row[3] for row in log.rows()} == {"m": "Sent", "n": "Sent"}
    [reason] = unmatched_reasons(log)
    assert "names no recipient" in reason


def test_who_is_written_to_may_be_known_later_than_the_message(log):
    log.write(reported("p", "open", recipient=""), reported("p", message_id="m", recipient=""))
    assert len(unmatched_reasons(log)) == 2
    log.write(sent("m", "p"))
    assert log.rows() == [("t", "m", "jo@example.com", "Open")]
    assert unmatched_reasons(log) == []


def test_a_view_from_before_fills_its_table_as_it_is_declared_now(log):
    view = f"{log.target.database}.unmatched_fill{log.target.on_cluster}"
    none = UNMATCHED.fill.sql(log.target.stored("events")).replace("WHERE", "WHERE 0 AND")
    log.client.command(f"ALTER TABLE {view} MODIFY QUERY {none}")
    list(migrate(log.client, log.target))
    log.write(reported("p"))
    assert len(unmatched_reasons(log)) == 1


def test_one_id_of_two_tenants_channels_and_providers_is_of_two_messages(log):
    log.write(
        sent("m1", "p"), sent("m2", "p", tenant_id="u"),
        sent("m3", "p", channel="sms", recipient="+12015550123"),
        sent("m4", "q", provider="ses"),
        reported("p"), reported("p", "open", tenant_id="u"),
        reported("p", channel="sms", recipient="+12015550123", provider="twilio"),
        reported("q", provider="postmark"),
    )  # fmt: skip
    assert log.rows() == [
        ("t", "m1", "jo@example.com", "Delivery"), ("t", "m4", "jo@example.com", "Sent"),
        ("t", "q", "jo@example.com", "Delivery"), ("u", "m2", "jo@example.com", "Open"),
    ]  # fmt: skip
    assert log.rows("sms") == [("t", "m3", "+12015550123", "Delivered")]


def test_an_id_that_is_used_again_months_later_is_of_another_message(log):
    later = START + 90 * DAYS
    log.write(sent("m1", "p"), reported("p"), sent("m2", "p", later), reported("p", "open", later))
    assert log.rows() == [
        ("t", "m1", "jo@example.com", "Delivery"), ("t", "m2", "jo@example.com", "Open"),
    ]  # fmt: skip


def test_of_two_messages_that_claim_an_id_the_earlier_has_it(log):
    log.write(sent("m1", "p"), sent("m2", "p", START + DAYS), reported("p", at=START + 2 * DAYS))
    assert log.rows() == [
        ("t", "m1", "jo@example.com", "Delivery"), ("t", "m2", "jo@example.com", "Sent"),
    ]  # fmt: skip


def test_a_message_that_its_mailer_names_by_that_id_is_never_hidden(log):
    log.write(reported("p"), sent("m", "p"), sent("p", at=START + DAYS))
    assert log.rows() == [
        ("t", "m", "jo@example.com", "Delivery"), ("t", "p", "jo@example.com", "Delivery"),
    ]  # fmt: skip


@pytest.mark.parametrize("folded", [True, False], ids=["as it is", "as a release before made it"])
def test_what_was_split_in_the_past_is_joined_by_a_migration(log, folded):
    database, on_cluster = log.target.database, log.target.on_cluster
    for name in ("edges", "unmatched"):
        log.client.command(f"DROP TABLE {database}.{name}_fill{on_cluster}")
        log.client.command(
            f"ALTER TABLE {log.target.stored(name)}{on_cluster} MODIFY COMMENT '{UNFILLED}'"
        )
    log.write(
        sent("m1", "p1"), reported("p1", "open"), sent("m2", "p2"), reported("p2"),
        reported("p3"), sent("own"), reported("own"), sent("m4", "p4"), sent("p4"), reported("p4"),
        joins=False,
    )  # fmt: skip
    if not folded:
        for table in ("email_log_state", "sms_log_state"):
            log.client.command(
                f"ALTER TABLE {log.target.stored(table)}{on_cluster} UPDATE own_at = NULL "
                "WHERE true SETTINGS mutations_sync = 2"
            )
    insert = Store(lambda: log.client, database).insert
    lines = list(migrate(log.client, log.target))
    assert {"filled edges from the events of t", "filled unmatched from the events of t"} <= {
        *lines
    }
    assert sum(join_history(log.client, database, insert)) == 3
    assert log.rows() == [
        ("t", "m1", "jo@example.com", "Open"), ("t", "m2", "jo@example.com", "Delivery"),
        ("t", "m4", "jo@example.com", "Delivery"), ("t", "own", "jo@example.com", "Delivery"),
        ("t", "p3", "jo@example.com", "Delivery"), ("t", "p4", "jo@example.com", "Delivery"),
    ]  # fmt: skip
    assert not any("filled" in line for line in migrate(log.client, log.target))
    assert sum(join_history(log.client, database, insert)) == 0
