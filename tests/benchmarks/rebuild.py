"""How many facts a second a log is refolded from the event store, beside the live one."""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from projections import rebuild
from projections.ddl import Target
from projections.tables import projections
from tests.benchmarks.load import load, quiet
from tests.benchmarks.report import BenchmarkError
from tests.system import DATABASE, running

NAME = "rebuild"
GOAL = 500_000  # facts a second


def run(options, console):
    count = options.sized(10_000_000, 300_000)
    target = Target(DATABASE)
    rows = []
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        for done in load(system.client, target, count, end=datetime.now(UTC)):
            if done % 1_000_000 == 0:
                console.print(f"{done:,} of {count:,} messages loaded")
        quiet(system.client)
        for log in projections().values():
            begun = time.monotonic()
            facts = [progress.facts for progress in rebuild.rebuild(system.client, target, log)][-1]
            folded = time.monotonic()
            changes = rebuild.differences(system.client, target, log)
            compared = time.monotonic()
            if changes:
                raise BenchmarkError(f"a rebuild of {log.name} would change rows: {changes[:3]}")
            rebuild.swap(system.client, target, log)
            rows.append({
                "log": log.name, "facts": facts, "seconds": folded - begun,
                "facts_per_second": facts / (folded - begun), "comparing": compared - folded,
            })  # fmt: skip
            console.print(f"{log.name}: {rows[-1]['facts_per_second']:,.0f} facts/s")
    return {
        "title": f"Refolding {count:,} messages",
        "columns": {
            "log": ("log", ""), "facts": ("facts", ",.0f"), "seconds": ("seconds", ",.1f"),
            "facts_per_second": ("facts/s", ",.0f"), "comparing": ("comparing, s", ",.1f"),
        },
        "rows": rows,
        "chart": {
            "title": "Refolding a log from the event store",
            "panels": [
                {"title": "throughput", "kind": "bars", "label": "log", "unit": "facts/s",
                 "values": {"facts_per_second": "facts/s"}, "goal": GOAL},
            ],
        },
    }  # fmt: skip
