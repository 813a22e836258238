"""Whether intake slows as the tables grow: with 0, 1, 10 and 30 million messages in them."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from projections.ddl import Target
from tests.benchmarks.intake import SYSTEMS, measure, records
from tests.benchmarks.load import load, quiet
from tests.system import DATABASE, running

NAME = "growth"
#: Millions of messages that are there already.
SIZES = (0, 1, 10, 30)
LEAST = 0.85  # of the throughput with empty tables


def run(options, console):
    count = options.sized(300_000, 60_000)
    sizes = (0, 1) if options.quick else SIZES
    end, total = datetime.now(UTC), max(sizes) * 1_000_000
    rows, loaded = [], 0
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        system.publish(records(count, raw=False))
        for millions in sizes:
            until = millions * 1_000_000
            for done in load(
                system.client, Target(DATABASE), total, end=end, start=loaded, stop=until
            ):
                if done % 1_000_000 == 0:
                    console.print(f"{done:,} messages loaded")
            loaded = until
            quiet(system.client)
            facts = system.value(f"SELECT count() FROM {DATABASE}.events")
            rounds = []
            for _ in range(options.repeated()):
                one = measure(system, "sendlog", SYSTEMS["sendlog"], count, present=facts)
                rounds.append(one["events_per_second"])
                # The next round writes the same; what is folded twice does not matter.
                system.client.command(
                    f"DELETE FROM {DATABASE}.events WHERE source_topic != 'load' "
                    "SETTINGS lightweight_deletes_sync = 1"
                )
            speed = median(rounds)
            empty = rows[0]["events_per_second"] if rows else speed
            rows.append({
                "messages": until, "facts": facts, "events_per_second": speed,
                "low": min(rounds), "high": max(rounds),
                "share": speed / empty,
            })  # fmt: skip
            console.print(f"with {until:,} messages: {speed:,.0f} events/s")
    return {
        "title": "Throughput by what is in the tables already",
        "columns": {
            "messages": ("messages", ",.0f"), "facts": ("facts", ",.0f"),
            "events_per_second": ("events/s", ",.0f"), "low": ("least", ",.0f"),
            "high": ("most", ",.0f"), "share": ("of that with none", ".2f"),
        },
        "rows": rows,
        "notes": [f"the aim: at least {LEAST} of the throughput with none"],
        "chart": {
            "title": "Throughput by the messages in the tables already",
            "panels": [
                {"title": "backlog to rows", "kind": "lines", "label": "messages",
                 "axis": "messages there", "values": {"events_per_second": "sendlog"},
                 "unit": "events/s"},
            ],
        },
    }  # fmt: skip
