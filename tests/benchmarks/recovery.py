"""How long a worker takes to remember all addresses with trouble after it was killed."""

from __future__ import annotations

import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from processor.kafka.producer import sync_producer
from tests.benchmarks.measure import memory
from tests.benchmarks.report import summary
from tests.system import DATABASE, running, wait_for

NAME = "recovery"
GOAL = 10  # seconds for 100,000 addresses
TIMEOUT_SECONDS = 1800
MEASURED = ("seconds", "until_joined", "worker_peak_mb")


def run(options, console):
    count = options.sized(100_000, 5_000)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        worker = system.worker()
        console.print(f"publishing {count:,} soft bounces of as many addresses")
        began = time.monotonic()
        soft_bounces(system, count)
        scheduled = f"SELECT count() FROM {DATABASE}.retries"
        wait_for(lambda: system.value(scheduled) >= count, "all to be decided on", TIMEOUT_SECONDS)
        decided = count / (time.monotonic() - began)
        system.wait_until_committed(TIMEOUT_SECONDS)
        rounds = []
        for _ in range(options.repeated()):
            worker.kill()
            began = time.monotonic()
            worker = system.worker()
            joined = time.monotonic() - began
            wait_for(
                lambda worker=worker: addresses(worker) == count,
                "all states to be read",
                TIMEOUT_SECONDS,
            )
            rounds.append({
                "seconds": max(line["seconds"] for line in states_read(worker)),
                "until_joined": joined,
                "worker_peak_mb": memory(worker._process.pid, "VmHWM"),
            })  # fmt: skip
    row = {"addresses": count} | {
        key: value for what in MEASURED
        for key, value in summary([one[what] for one in rounds], what).items()
    }  # fmt: skip
    return {
        "title": f"A killed worker's memory of {count:,} addresses with trouble, read back",
        "columns": {
            "addresses": ("addresses", ",.0f"), "seconds": ("reading, s", ",.2f"),
            "seconds_high": ("most", ",.2f"), "until_joined": ("until it joined, s", ",.1f"),
            "worker_peak_mb": ("peak MB", ",.0f"),
        },
        "rows": [row],
        "rounds": rounds,
        "notes": [
            f"the aim: {GOAL} s",
            f"decided at {decided:,.0f} soft bounces/s by the worker that took them in",
        ],
        "chart": {
            "title": "Reading back what is remembered",
            "panels": [
                {"title": "time", "kind": "bars", "label": "addresses", "unit": "seconds",
                 "values": {"seconds": "reading"}, "goal": GOAL},
            ],
        },
    }  # fmt: skip


def soft_bounces(system, count):
    now = datetime.now(UTC).isoformat()
    with sync_producer(system.kafka) as send:
        for number in range(count):
            event = {
                "channel": "email", "kind": "bounce", "bounce_class": "soft",
                "enhanced_status": "4.2.2", "tenant_id": "acme", "message_id": f"m{number}",
                "recipient": f"r{number}@example.com", "occurred_at": now,
            }  # fmt: skip
            send("email.sends", json.dumps(event).encode())


def states_read(worker):
    """Return what a worker logged of each partition of states that it read."""
    lines = worker.log.read_text(errors="replace").splitlines()
    return [json.loads(line) for line in lines if '"states_read"' in line]


def addresses(worker):
    return sum(line["addresses"] for line in states_read(worker))
