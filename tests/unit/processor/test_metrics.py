"""Metrics and probes: their table, lag by topic, routes, and when a worker stands still."""

from __future__ import annotations

import asyncio
import re
from threading import Event, Thread
from time import monotonic, time
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from processor import metrics, metrics_server
from processor.http.server import RequestMetrics
from processor.intake.worker_health import WorkerHealth
from processor.kafka.lag import LagGauges, Undone
from processor.metrics import METRICS_BY_PART
from tests.paths import ROOT

PLACE, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels)


def rows_of_code():
    parts = {}
    for part, collectors in METRICS_BY_PART.items():
        for metric in collectors:
            parts.setdefault(metric, []).append(part)
    for metric, names in parts.items():
        [family] = metric.describe()
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(metric._labelnames)
        yield name, family.type, labels, ", ".join(names), family.documentation


def test_the_table_of_metrics_has_each_with_its_type_unit_labels_parts_and_meaning():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "deploy/METRICS.md").read_text("utf-8").splitlines()
        if re.match(r"\| `sendlog_", line)
    ]
    assert all(unit for _, _, unit, *_ in rows)
    written = {(name.strip("`"), kind, *rest) for name, kind, _, *rest in rows}
    assert written == set(rows_of_code())
    assert len(rows) == len(written)


def test_no_metric_has_a_label_with_values_of_people_or_paths():
    there_are = {metric for of_part in METRICS_BY_PART.values() for metric in of_part}
    labels = {label for metric in there_are for label in metric._labelnames}
    assert labels <= {
        "topic", "provider", "reason", "decision", "table", "state", "route", "status", "version",
        "part", "tenant", "outcome",
    }  # fmt: skip


def test_lag_is_what_lies_between_the_first_undone_record_and_the_end():
    gauges = LagGauges()
    waiting = Undone(10, record_at=time() - 60, read_at=monotonic() - 5)
    gauges.set({PLACE: waiting, OTHER: Undone(3)}, {PLACE: 25, OTHER: 3})
    assert value("sendlog_lag_records", topic="t") == 15
    assert value("sendlog_partitions", topic="t") == 2
    assert value("sendlog_seconds_behind", topic="t") == pytest.approx(60, abs=5)
    assert value("sendlog_oldest_unacked_seconds", topic="t") == pytest.approx(5, abs=4)


def test_lag_of_which_nothing_is_read_grows_older_from_when_it_is_noticed(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("processor.kafka.lag.monotonic", lambda: clock[0])
    gauges = LagGauges()
    gauges.set({PLACE: Undone(3)}, {PLACE: 3})
    clock[0] += 500
    gauges.set({PLACE: Undone(3)}, {PLACE: 4})
    assert value("sendlog_seconds_behind", topic="t") == 0
    clock[0] += 40
    gauges.set({PLACE: Undone(3)}, {PLACE: 9})
    assert value("sendlog_seconds_behind", topic="t") == 40
    gauges.set({PLACE: Undone(9)}, {PLACE: 9})
    assert value("sendlog_seconds_behind", topic="t") == 0


def test_a_topic_that_is_not_held_any_more_has_no_lag_at_all():
    gauges = LagGauges()
    gauges.set({PLACE: Undone(0)}, {PLACE: 7})
    gauges.set({}, {})
    assert value("sendlog_lag_records", topic="t") is None
    assert value("sendlog_partitions", topic="t") is None


def test_requests_are_counted_by_the_pattern_of_their_route():
    def answer(request):
        if request.path_params.get("name") == "bad":
            raise RuntimeError
        return PlainTextResponse("", 204)

    app = Starlette(
        routes=[Route("/hooks/{name}", answer), Mount("/static", app=PlainTextResponse("x"))]
    )
    client = TestClient(RequestMetrics(app), raise_server_exceptions=False)
    for path in ("/hooks/a", "/hooks/b", "/hooks/bad", "/x/jo@example.com", "/static/a.css"):
        client.get(path)

    def count(route, status):
        return value("sendlog_request_seconds_count", route=route, status=status)

    assert count("/hooks/{name}", "2xx") == 2
    assert count("/hooks/{name}", "5xx") == 1
    assert count("none", "4xx") == 1
    assert count("/static", "2xx") == 1


@pytest.fixture
def health():
    """The health of a worker whose loop runs on a thread."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    intake = SimpleNamespace(seconds_without_progress=lambda: 0.0, is_waiting_for_clickhouse=False)
    yield WorkerHealth(
        loop=loop, intake=intake, timeout=100, has_blacklist=lambda: True, reading_partitions=list
    )
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_worker_is_alive_until_a_step_outlasts_all_that_it_may_take(health):
    health.intake.seconds_without_progress = lambda: 159.0
    assert health.live() == []
    health.intake.seconds_without_progress = lambda: 161.0
    assert health.live() == ["no step of a write has ended for 161 s"]


def test_a_worker_that_waits_for_a_server_is_alive_however_long(health):
    health.intake.seconds_without_progress = lambda: 9999.0
    health.intake.is_waiting_for_clickhouse = True
    assert health.live() == []
    health.intake.is_waiting_for_clickhouse = False
    health.observe_kafka("the broker is away")
    assert health.live() == []


def test_a_worker_whose_loop_does_not_answer_is_not_alive(health, monkeypatch):
    monkeypatch.setattr(metrics_server, "MAX_LOOP_SECONDS", 0.01)
    release = Event()
    health.loop.call_soon_threadsafe(release.wait)
    assert "did not answer" in health.live()[0]
    release.set()


def test_a_worker_says_what_it_lacks(health):
    health.observe_kafka("the broker is away")
    health.has_blacklist = lambda: False
    health.reading_partitions = lambda: [1, 3]
    assert health.ready() == [
        "Kafka: the broker is away",
        "Kafka: the group has not given this worker its share of partitions yet",
        "the blacklist is still being read",
        "the states of addresses are still being read: delivery.policy/1, delivery.policy/3",
    ]
    health.observe_kafka("")
    health.has_joined, health.has_blacklist, health.reading_partitions = True, lambda: True, list
    assert health.ready() == []


def test_tenants_have_labels_of_their_own_up_to_a_number(monkeypatch):
    monkeypatch.setattr(metrics, "_labelled_tenants", set())
    monkeypatch.setattr(metrics, "MAX_TENANT_LABELS", 2)
    labels = [metrics.tenant_label(tenant) for tenant in ("a", "b", "c", "a", "c")]
    assert labels == ["a", "b", "other", "a", "other"]
