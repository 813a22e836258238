"""Lines on their way to the audit log: what becomes of them while ClickHouse takes none."""

from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from projections.clickhouse.client import TransientError
from projections.queries.audit import AuditLine
from projections.web import audit_trail
from projections.web.audit_trail import AuditTrail
from tests.system import wait_for


class Database:
    """ClickHouse, as far as lines are inserted into it; it may be away."""

    server_settings: dict = {}  # noqa: RUF012

    def __init__(self):
        self.is_away = False
        self.rows = []
        self.inserts = 0

    def connect(self):
        if self.is_away:
            raise TransientError("away")
        return self

    def insert_arrow(self, table, rows, **_):
        assert table == "audit"
        if self.is_away:
            raise ConnectionError("away")
        self.inserts += 1
        self.rows += rows.to_pylist()


def line(number, **fields):
    return AuditLine(**{
        "tenant_id": "a", "actor": "kim", "via": "api", "action": "export",
        "object": str(number), **fields,
    })  # fmt: skip


def objects(database):
    return [row["object"].decode() for row in database.rows]


@pytest.fixture
def database():
    return Database()


@pytest.fixture
def quiet(monkeypatch):
    """Return a maker of trails that write when they are told to, and not by themselves."""
    monkeypatch.setattr(audit_trail, "FLUSH_SECONDS", 3600)
    return lambda database, **options: AuditTrail(database.connect, "d", **options)


def test_lines_are_written_together_and_in_order(database, quiet):
    reports = []
    trail = quiet(database, report=lambda *counts: reports.append(counts))
    for number in range(5):
        trail.add(line(number))
    trail.flush()
    assert objects(database) == ["0", "1", "2", "3", "4"]
    assert database.inserts == 1
    assert reports == [(5, 0, 0)]


def test_what_clickhouse_does_not_take_waits_up_to_a_bound(database, quiet, monkeypatch):
    monkeypatch.setattr(audit_trail, "MAX_WAITING_LINES", 3)
    reports = []
    trail = quiet(database, report=lambda *counts: reports.append(counts))
    database.is_away = True
    for number in range(5):
        trail.add(line(number))
    with pytest.raises(TransientError):
        trail.flush()
    database.is_away = False
    trail.flush()
    assert objects(database) == ["0", "1", "2"]
    assert reports == [(0, 2, 3), (3, 0, 0)]


def test_a_connection_that_broke_is_made_anew(database, quiet):
    trail = quiet(database)
    trail.add(line(0))
    trail.flush()
    database.is_away = True
    trail.add(line(1))
    with pytest.raises(TransientError):
        trail.flush()
    database.is_away = False
    trail.flush()
    assert objects(database) == ["0", "1"]


def test_the_log_says_once_a_minute_that_nothing_is_written(database, quiet):
    now = 0.0
    trail = quiet(database, clock=lambda: now)
    database.is_away = True
    trail.add(line("secret@example.com"))
    with capture_logs() as logs:
        for now in (0, 5, 59, 61, 100):  # noqa: B007 the clock reads it
            assert not trail._flushed()
    assert [each["event"] for each in logs] == ["audit_not_written", "audit_not_written"]
    assert [each["waiting"] for each in logs] == [1, 1]
    assert "secret" not in str(logs)


def test_stopping_writes_what_waits_and_says_what_is_lost(database, quiet, monkeypatch):
    trail = quiet(database)
    trail.add(line(0))
    trail.close()
    assert objects(database) == ["0"]
    database.is_away = True
    trail.add(line(1))
    with capture_logs() as logs:
        trail.close()
    assert {"event": "audit_lines_lost", "log_level": "warning", "count": 1} in logs


def test_many_threads_lose_and_repeat_nothing(database):
    trail = AuditTrail(database.connect, "d")

    def add_many(start):
        for number in range(start, start + 200):
            trail.add(line(number))

    threads = [threading.Thread(target=add_many, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.close()
    assert sorted(map(int, objects(database))) == sorted(
        number for start in range(4) for number in range(1000 * start, 1000 * start + 200)
    )


def test_lines_are_written_without_being_asked_for(database, monkeypatch):
    monkeypatch.setattr(audit_trail, "FLUSH_SECONDS", 0.01)
    trail = AuditTrail(database.connect, "d")
    trail.add(line(0))
    wait_for(lambda: objects(database) == ["0"], "the line to be written")
    trail.close()


def test_half_a_character_stops_nothing(database, quiet):
    trail = quiet(database)
    trail.add(line("\ud800x"))
    trail.flush()
    assert objects(database) == ["?x"]
