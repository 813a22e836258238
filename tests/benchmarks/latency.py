"""How long after a mailer hands a fact to its producer the message is seen by a query of the log.

A producer sends facts at an even pace, each of a message of its own. A poller asks `email_log` for
the newest message of each partition, over and over; what is new since it asked last has become
visible no later than when the answer is there. Rows appear in order of their partition, so the
newest stands for all before it. Both clocks are one: producer and poller are threads of a process.
"""

from __future__ import annotations

import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from confluent_kafka import Producer

from tests.benchmarks.report import BenchmarkError, percentile
from tests.system import DATABASE, running

NAME = "latency"
RATES = (100, 2_000, 20_000)  # events a second
TOPIC = "email.sends"
#: At the start of a rate these are not counted: connections and caches are made.
WARM_UP_SECONDS = 3
#: Between two checks whether events are due: one for each would take a tenth of a core.
SEND_INTERVAL_SECONDS = 0.005
#: An event that is not visible after this counts as lost.
TIMEOUT_SECONDS = 60
#: Between two polls: closer ones would be a load of their own.
POLL_INTERVAL_SECONDS = 0.02
SHARES = (0.01, *(each / 40 for each in range(1, 40)), 0.99, 0.999)


def run(options, console):
    seconds = 20 if options.quick else 30
    rows, curves = [], []
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        system.worker()
        for rate in RATES:
            console.print(f"{rate:,} facts a second for {seconds} s")
            feed = Feed(system, f"latency-{rate}", rate, WARM_UP_SECONDS + seconds)
            latencies, polls = poll(system, feed)
            rows.append(
                {
                    "rate": f"{rate:,}/s", "events": len(latencies),
                    "sent_per_second": feed.sent() / (WARM_UP_SECONDS + seconds),
                    "p50_ms": percentile(latencies, 0.5), "p99_ms": percentile(latencies, 0.99),
                    "max_ms": max(latencies), "poll_ms": median(polls),
                }
            )  # fmt: skip
            curves += [
                {"rate": f"{rate:,}/s", "share": 100 * share, "ms": percentile(latencies, share)}
                for share in SHARES
            ]
    return {
        "title": "From the producer to a query of the email log",
        "columns": {
            "rate": ("facts", ""), "sent_per_second": ("sent a second", ",.0f"),
            "events": ("measured", ",.0f"), "p50_ms": ("p50 ms", ",.0f"),
            "p99_ms": ("p99 ms", ",.0f"), "max_ms": ("max ms", ",.0f"),
            "poll_ms": ("ms between looks", ",.1f"),
        },
        "rows": rows,
        "curves": curves,
        "notes": ["a fact counts as visible when a look at the log has shown it, not before"],
        "chart": {
            "title": "From a mailer's producer to a query of the email log",
            "panels": [
                {"title": "latency", "kind": "groups", "label": "rate", "unit": "milliseconds",
                 "values": {"p50_ms": "median", "p99_ms": "99th percentile", "max_ms": "longest"}},
                {"title": "how many are seen by when", "kind": "lines", "points": "curves",
                 "label": "share", "axis": "percent of facts", "series": "rate",
                 "values": {"ms": "ms"}, "unit": "milliseconds, at most"},
            ],
        },
    }  # fmt: skip


class Feed:
    """Sends events at an even pace, from a thread, and keeps when each was handed over."""

    SUBJECT = "Reminder: the lesson on Thursday has moved"

    def __init__(self, system, tenant, rate, seconds):
        self.tenant, self.rate = tenant, rate
        self._producer = Producer(
            {"bootstrap.servers": system.broker.bootstrap, "acks": "all", "linger.ms": 5,
             "compression.type": "lz4"}
        )  # fmt: skip
        partitions = self._producer.list_topics(TOPIC).topics[TOPIC].partitions
        #: Of each partition, the times at which its events were handed over, in their order.
        self.times = [[] for _ in partitions]
        self.begun = time.monotonic()
        self._total = rate * seconds
        self._failed = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def sent(self):
        return sum(map(len, self.times))

    def stop(self):
        """Send no more, and wait until what was sent has arrived."""
        self._stopped = True
        self._thread.join()
        self.done()

    def done(self):
        if self._failed:
            raise BenchmarkError(f"the producer stopped: {self._failed}")
        return not self._thread.is_alive()

    def _run(self):
        try:
            sent = 0
            while sent < self._total and not self._stopped:
                due = min(self._total, int((time.monotonic() - self.begun) * self.rate) + 1)
                for number in range(sent, due):
                    self._send(number % len(self.times))
                sent = due
                self._producer.poll(0)
                time.sleep(SEND_INTERVAL_SECONDS)
            self._producer.flush()
            del self._producer  # its connections end before the broker does
        except Exception as error:  # noqa: BLE001 - raised where somebody waits
            self._failed = error

    def _send(self, partition):
        times = self.times[partition]
        value = self.value(partition, len(times))
        times.append(time.monotonic())
        self._producer.produce(TOPIC, value.encode(), partition=partition)

    def value(self, partition, number):
        """Return the event with a number in its partition."""
        return (
            f'{{"channel":"email","kind":"sent","tenant_id":"{self.tenant}",'
            f'"message_id":"m-{partition}-{number}","recipient":"{recipient(partition, number)}",'
            f'"occurred_at":"{datetime.now(UTC).isoformat()}","record_type":"family",'
            f'"record_id":"{self.record()}","subject":"{self.SUBJECT}","campaign":"reminders"}}'
        )

    def record(self):
        """Return the customer record that the next event is about."""
        return "F-1024"


def recipient(partition, number):
    """Return an address whose order is that of the partition."""
    return f"{partition}-{number:09d}@example.com"


def poll(system, feed):
    """Return the latencies of the events, and the times from poll to poll, in milliseconds."""
    partitions = range(len(feed.times))
    visible = [0] * len(partitions)
    latencies, polls = [], []
    polled_at, ended = time.monotonic(), None
    while not (feed.done() and sum(visible) == feed.sent()):
        newest = count_visible(system, feed.tenant, visible)
        now = time.monotonic()
        polls.append((now - polled_at) * 1000)
        polled_at = now
        for partition in partitions:
            new = feed.times[partition][visible[partition] : newest[partition]]
            counted = (sent_at for sent_at in new if sent_at > feed.begun + WARM_UP_SECONDS)
            latencies += [(now - sent_at) * 1000 for sent_at in counted]
            visible[partition] = newest[partition]
        if feed.done():
            ended = ended or now
            if now > ended + TIMEOUT_SECONDS:
                missing = feed.sent() - sum(visible)
                raise BenchmarkError(f"{missing:,} facts never became visible")
        time.sleep(POLL_INTERVAL_SECONDS)
    return latencies, polls


def count_visible(system, tenant, visible):
    """Return how many messages of each partition the log shows; `visible` were there before."""
    ranges = " OR ".join(
        f"recipient >= '{recipient(partition, number)}' AND recipient < '{partition}-x'"
        for partition, number in enumerate(visible)
    )
    rows = system.rows(
        f"SELECT max(recipient) AS newest FROM {DATABASE}.email_log "
        f"WHERE tenant_id = {{tenant:String}} AND ({ranges}) GROUP BY left(recipient, 1)",
        tenant=tenant,
    )
    newest = list(visible)
    for row in rows:
        partition, number = row["newest"].partition("@")[0].split("-")
        newest[int(partition)] = int(number) + 1
    return newest
