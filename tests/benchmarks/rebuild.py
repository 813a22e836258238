"""How many facts a second a log is refolded from the event store, beside the live one."""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from projections.clickhouse import rebuild
from projections.clickhouse.ddl import Target
from projections.tables import projections
from tests.benchmarks.load import filled, quiet
from tests.benchmarks.report import BenchmarkError, summary
from tests.clickhouse import connect_to
from tests.system import DATABASE, running

NAME = "rebuild"
GOAL = 500_000  # events a second
MEASURED = ("facts_per_second", "folding", "comparing", "swapping")
TIMEOUT_SECONDS = 3600  # to see how long a statement takes, not to end it


def run(options, console):
    count = options.present(10_000_000, 300_000)
    if not count:
        raise BenchmarkError("there is nothing to refold in 0 messages")
    target, rounds = Target(DATABASE), options.repeated(1)
    rounds_of = {name: [] for name in projections()}
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        client = connect_to(system.engine.url, timeout=TIMEOUT_SECONDS)
        console.print(f"loading {count:,} messages")
        filled(client, target, count, console, end=datetime.now(UTC))
        for _ in range(rounds):
            for name, log in projections().items():
                quiet(client, console)
                rounds_of[name].append(one := refold(client, target, log))
                console.print(f"{name}: {one['facts_per_second']:,.0f} facts/s")
    rows = [
        {"log": name, "facts": ones[0]["facts"]} | {
            key: value for what in MEASURED
            for key, value in summary([one[what] for one in ones], what).items()
        }
        for name, ones in rounds_of.items()
    ]  # fmt: skip
    events, seconds = (sum(row[what] for row in rows) for what in ("facts", "folding"))
    return {
        "title": f"Refolding the logs of {count:,} messages from {events:,} facts",
        "columns": {
            "log": ("log", ""), "facts": ("facts", ",.0f"),
            "facts_per_second": ("facts/s", ",.0f"), "folding": ("folding, s", ",.1f"),
            "comparing": ("comparing, s", ",.1f"), "swapping": ("swapping, s", ",.2f"),
        },
        "rows": rows,
        "rounds": rounds_of,
        "notes": [f"both: {events / seconds:,.0f} facts/s; the aim: {GOAL:,}"],
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
    run = rebuild.begin(client, target, log)
    *_, end = run.fold()
    times.append(time.monotonic())
    changes = run.row_changes()
    times.append(time.monotonic())
    if changes:
        raise BenchmarkError(f"a rebuild of {log.name} would change rows: {changes[:3]}")
    run.swap()
    times.append(time.monotonic())
    folding, comparing, swapping = (after - before for before, after in pairwise(times))
    return {
        "facts": end.events, "facts_per_second": end.events / folding,
        "folding": folding, "comparing": comparing, "swapping": swapping,
    }  # fmt: skip
