"""What facts of all kinds at a steady rate cost, and how soon the rules have decided on them.

A worker with its policy gets events at an even pace, far below what it can take. A backlog is read
in large chunks; here all is small, and what each poll, write and lookup costs shows.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import latency
from tests.benchmarks.intake import merged, records, spent
from tests.benchmarks.latency import SEND_INTERVAL_SECONDS, WARM_UP_SECONDS
from tests.benchmarks.measure import memory
from tests.benchmarks.report import BenchmarkError, percentile
from tests.system import DATABASE, running

NAME = "steady"
RATES = (250, 1_000, 4_000)  # events a second
PARTS = ("worker", "broker", "database")
#: How long after the event that led to it a row of the suppression history was in Kafka.
DECISION_DELAYS = f"""
    SELECT dateDiff('millisecond', e.recorded_at, h.recorded_at) AS ms
    FROM {DATABASE}.suppression_history AS h
    INNER JOIN {DATABASE}.events AS e ON e.tenant_id = h.tenant_id AND e.event_id = h.cause_event_id
    WHERE h.change = 'added' AND e.recorded_at >= {{since:DateTime64(3, 'UTC')}}
"""


def run(options, console):
    seconds = 10 if options.quick else 60
    lasts = WARM_UP_SECONDS + seconds
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        console.print("making facts")
        backlog = iter(list(records(sum(RATES) * lasts, raw=False)))
        worker = system.worker()
        rows = []
        for rate in RATES:
            console.print(f"{rate:,} records a second for {lasts} s")
            rows.append(measure(system, worker, backlog, rate, seconds))
    return {
        "title": "What facts of all kinds cost at a steady rate, with the rules",
        "columns": {
            "rate": ("records", ""), "events_per_second": ("events/s", ",.0f"),
            **{part: (f"{part}*", ",.0f") for part in PARTS}, "mb": ("worker MB", ",.0f"),
            "listed": ("listed", ",.0f"), "p50_ms": ("decided: p50 ms", ",.0f"),
            "p99_ms": ("p99 ms", ",.0f"),
        },
        "rows": rows,
        "notes": [
            "* percent of a core",
            "listed: addresses; decided: from the fact that led to it to the decision, by Kafka",
        ],
        "chart": {
            "title": "Facts of all kinds at a steady rate, with the rules",
            "panels": [
                {"title": "what it costs", "kind": "bars", "label": "rate",
                 "values": {part: part for part in PARTS}, "unit": "percent of a core"},
                {"title": "from a fact to what is decided on it", "kind": "groups",
                 "label": "rate", "unit": "milliseconds",
                 "values": {"p50_ms": "median", "p99_ms": "99th percentile"}},
            ],
        },
    }  # fmt: skip


class Feed(latency.Feed):
    """Sends records that are made already, whatever their topics."""

    def __init__(self, system, backlog, rate, seconds):
        self._backlog = backlog
        super().__init__(system, "", rate, seconds)

    def _send(self, _partition):
        record = next(self._backlog)
        headers = list(record.headers)
        self._producer.produce(record.topic, record.value, record.key, headers=headers)


def measure(system, worker, backlog, rate, seconds):
    """Return what a rate costs each part, after some seconds of it that are not counted."""
    feed = Feed(system, backlog, rate, WARM_UP_SECONDS + seconds)
    time.sleep(WARM_UP_SECONDS)
    first, before, begun = events(system), spent(system, worker), time.monotonic()
    since = datetime.now(UTC)
    while not feed.done():
        time.sleep(SEND_INTERVAL_SECONDS)
    after, last, passed = spent(system, worker), events(system), time.monotonic() - begun
    system.wait_until_committed()
    merged(system)  # those of this rate are no matter of the next
    waits = [row["ms"] for row in system.rows(DECISION_DELAYS, since=since)]
    if not waits:
        raise BenchmarkError(f"at {rate:,} records a second nothing was decided")
    return {
        "rate": f"{rate:,}/s",
        "events_per_second": (last - first) / passed,
        **{part: 100 * (after[part] - before[part]) / passed for part in PARTS},
        "listed": len(waits), "p50_ms": percentile(waits, 0.5), "p99_ms": percentile(waits, 0.99),
        "mb": memory(worker._process.pid),
    }  # fmt: skip


def events(system):
    return system.value(f"SELECT count() FROM {DATABASE}.events")
