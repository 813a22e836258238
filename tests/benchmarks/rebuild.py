"""How many facts a second a log is refolded from the event store, beside the live one."""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from projections.clickhouse import rebuild
from projections.clickhouse.client import connect
from projections.clickhouse.ddl import Target
from projections.tables import projections
from tests.benchmarks.load import filled, quiet
from tests.benchmarks.report import BenchmarkError, summary
from tests.system import DATABASE, running

NAME = "rebuild"
GOAL = 500_000  # facts a second
MEASURED = ("facts_per_second", "folding", "comparing", "swapping")
TIMEOUT = 3600  # seconds: to see how long a statement takes, not to end it


def run(options, console):
    count = options.present(10_000_000, 300_000)
    if not count:
        raise BenchmarkError("there is nothing to refold in 0 messages")
    target, rounds = Target(DATABASE), options.repeated(1)
    ran = {name: [] for name in projections()}
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        client = connect(system.engine.url, user="default", password="", timeout=TIMEOUT)
        console.print(f"loading {count:,} messages")
        filled(client, target, count, console, end=datetime.now(UTC))
        for _ in range(rounds):
            for name, log in projections().items():
                quiet(client, console)
                ran[name].append(one := refold(client, target, log))
                console.print(f"{name}: {one['facts_per_second']:,.0f} facts/s")
    rows = [
        {"log": name, "facts": ones[0]["facts"]} | {
            key: value for what in MEASURED
            for key, value in summary([one[what] for one in ones], what).items()
        }
        for name, ones in ran.items()
    ]  # fmt: skip
    facts, seconds = (sum(row[what] for row in rows) for what in ("facts", "folding"))
    return {
        "title": f"Refolding the logs of {count:,} messages from {facts:,} facts",
        "columns": {
            "log": ("log", ""), "facts": ("facts", ",.0f"),
            "facts_per_second": ("facts/s", ",.0f"), "folding": ("folding, s", ",.1f"),
            "comparing": ("comparing, s", ",.1f"), "swapping": ("swapping, s", ",.2f"),
        },
        "rows": rows,
        "rounds": ran,
        "notes": [f"both: {facts / seconds:,.0f} facts/s; the aim: {GOAL:,}"],
        "chart": {
            "title": "Refolding a log from the event store",
            "panels": [
                {"title": "throughput", "kind": "bars", "label": "log", "unit": "facts/s",
                 "values": {"facts_per_second": "facts/s"}, "goal": GOAL},
            ],
        },
    }  # fmt: skip


def refold(client, target, log):
    """Return how long each step of a rebuild takes. Raises `BenchmarkError` if a row changes."""
    times = [time.monotonic()]
    *_, end = rebuild.rebuild(client, target, log)
    times.append(time.monotonic())
    changes = rebuild.differences(client, target, log)
    times.append(time.monotonic())
    if changes:
        raise BenchmarkError(f"a rebuild of {log.name} would change rows: {changes[:3]}")
    rebuild.swap(client, target, log)
    times.append(time.monotonic())
    folding, comparing, swapping = (after - before for before, after in pairwise(times))
    return {
        "facts": end.facts, "facts_per_second": end.facts / folding,
        "folding": folding, "comparing": comparing, "swapping": swapping,
    }  # fmt: skip
