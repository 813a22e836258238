"""How much memory a worker holds over 10 million events, and whether that grows.

Kafka is fed while the worker reads, so much ahead that it never waits. Its resident size is looked
at every second.
"""

from __future__ import annotations

import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from confluent_kafka import Producer

from processor.demo.traffic import Pace, in_order, messages
from tests.benchmarks.measure import memory
from tests.benchmarks.report import BenchmarkError
from tests.system import DATABASE, running

NAME = "memory"
#: Records made once; each time they are sent again they are about other messages.
SLICE_RECORDS = 100_000
#: About how many records may be sent and not yet visible.
MAX_AHEAD_RECORDS = 300_000
MARK = b'"message_id":"'


def run(options, console):
    count = options.sized(10_000_000, 400_000)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        console.print("making facts")
        feed = Feed(system, count)
        worker = system.worker()
        samples = sample(system, worker, feed, count, console)
        peak = memory(worker._process.pid, "VmHWM")
    rows = by_million(samples, count)
    grows = slope(samples[len(samples) // 2 :])
    return {
        "title": f"Resident memory of a worker over {count:,} events",
        "columns": {
            "events": ("events", ",.0f"), "mb": ("MB", ",.0f"), "most_mb": ("most so far", ",.0f"),
            "events_per_second": ("events/s", ",.0f"),
        },
        "rows": rows,
        "samples": samples,
        "peak_mb": peak,
        "slope_mb_per_million": grows,
        "notes": [f"peak {peak:,.0f} MB; {grows:+.2f} MB per million events in the second half"],
        "chart": {
            "title": f"Resident memory of a worker over {count:,} events",
            "panels": [
                {"title": "looked at every second", "kind": "lines", "points": "samples",
                 "label": "millions", "axis": "events written, in millions",
                 "values": {"mb": "sendlog"}, "unit": "resident memory, MB", "goal": 500},
            ],
        },
    }  # fmt: skip


class Feed:
    """Sends events from a thread, not more than so many ahead of what is visible."""

    def __init__(self, system, count):
        self.visible = 0
        self._count = count
        self._records = list(islice(endless_records(), SLICE_RECORDS))
        self._producer = Producer(
            {"bootstrap.servers": system.broker.bootstrap, "acks": "all", "linger.ms": 50,
             "compression.type": "lz4", "queue.buffering.max.messages": MAX_AHEAD_RECORDS}
        )  # fmt: skip
        self.failed = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            for sent in range(self._count):
                turn, place = divmod(sent, SLICE_RECORDS)
                if sent % 1000 == 0:
                    self._wait(sent)
                record = self._records[place]
                value = record.value.replace(MARK, b"%b%d-" % (MARK, turn), 1)
                self._producer.produce(
                    record.topic, value, record.key, timestamp=record.timestamp_ms
                )
            self._producer.flush()
            del self._producer  # its connections end before the broker does
        except Exception as error:  # noqa: BLE001 - raised where somebody waits
            self.failed = error

    def _wait(self, sent):
        """Let the producer work until the worker has come near enough."""
        self._producer.poll(0)
        while sent - self.visible > MAX_AHEAD_RECORDS:
            self._producer.poll(0.02)


def endless_records():
    """Return records of the demo generator without end."""
    start = datetime.now(UTC) - timedelta(days=14)
    return in_order(messages(1, start, raw=False, pace=Pace(gap=1.0)))


def sample(system, worker, feed, count, console):
    """Return the worker's memory, every second until all events are visible."""
    begun = time.monotonic()
    samples, printed, changed = [], 0, begun
    while feed.visible < count:
        visible, now = system.value(f"SELECT count() FROM {DATABASE}.events"), time.monotonic()
        changed = now if visible > feed.visible else changed
        feed.visible = visible
        samples.append(
            {"seconds": now - begun, "millions": visible / 1e6, "mb": memory(worker._process.pid)}
        )
        if feed.failed or now > changed + 120 or not worker.running:
            why = feed.failed or system.output(worker)[-1500:]
            raise BenchmarkError(f"at {visible:,} of {count:,} events nothing came any more: {why}")
        if visible >= printed + max(1, count // 10):
            printed = visible
            console.print(f"{visible:,} events, {samples[-1]['mb']:,.0f} MB")
        time.sleep(1)
    return samples


def by_million(samples, count):
    """Return a row for each million events (or tenth, if there are fewer)."""
    step = min(1_000_000, count // 10) / 1e6
    rows, peak, before = [], 0.0, samples[0]
    for point in samples:
        peak = max(peak, point["mb"])
        if point["millions"] >= (len(rows) + 1) * step:
            passed = point["seconds"] - before["seconds"]
            done = point["millions"] - before["millions"]
            rows.append(
                {"events": point["millions"] * 1e6, "mb": point["mb"], "most_mb": peak,
                 "events_per_second": done * 1e6 / passed if passed else None}
            )  # fmt: skip
            before = point
    return rows


def slope(samples):
    """Return MB per million events: the least-squares line through samples."""
    if len(samples) < 2:
        return 0.0
    across = [point["millions"] for point in samples]
    up = [point["mb"] for point in samples]
    middle, height = sum(across) / len(across), sum(up) / len(up)
    spread = sum((x - middle) ** 2 for x in across)
    rise = sum((x - middle) * (y - height) for x, y in zip(across, up, strict=True))
    return rise / spread if spread else 0.0
