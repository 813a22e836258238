"""Whether intake slows as the tables grow: with 0, 1, 10 and 30 million messages in them.

A history is made in a database of its own, and its parts are put into the emptied live tables
before each round: so each round finds the same tables, and none what another has written.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from projections.clickhouse.ddl import Target, log_select, merge_select
from projections.clickhouse.migrate import migrate
from projections.tables import KEY, projections
from projections.tables.events import TABLE as EVENTS
from tests.benchmarks.intake import SYSTEMS, empty, measure, records
from tests.benchmarks.load import TOPIC, filled, quiet
from tests.benchmarks.report import BenchmarkError, summary
from tests.system import DATABASE, running

NAME = "growth"
SIZES = (0, 1_000_000, 10_000_000, 30_000_000)
QUICK = (0, 100_000)
HISTORY = "sendlog_history"
#: The tenant of the demo generator's events: half of the history is its own, half of others.
TENANT = "demo"
MIN_SHARE = 0.85  # of the throughput with empty tables
MEASURED = ("events_per_second", "worker_cpu", "database_cpu")
SPREAD = ("events_per_second_low", "events_per_second_high")


def run(options, console):
    count = options.sized(300_000, 60_000)
    sizes = sorted({*options.messages} or (QUICK if options.quick else SIZES))
    rows, all_rounds, loaded, notes = [], [], 0, []
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        console.print(f"preloading {count:,} events")
        system.publish(records(count, raw=options.raw))
        history, end = Target(HISTORY), datetime.now(UTC)
        for _ in migrate(system.client, history):
            pass
        for size in sizes:
            if not filled(system.client, history, max(sizes), console,
                          start=loaded, stop=size, end=end, big=TENANT):  # fmt: skip
                notes.append(f"with {size:,} messages, merges were under way in the history")
            loaded = size
            rounds = [one_round(system, count, console) for _ in range(options.repeated(2))]
            all_rounds += rounds
            check_same_rows(all_rounds)
            rows.append({"messages": size, "millions": size / 1e6, "facts": rounds[0]["facts"]} | {
                key: value for what in MEASURED
                for key, value in summary([one[what] for one in rounds], what).items()
            })  # fmt: skip
            rows[-1]["of_least"] = rows[-1]["events_per_second"] / rows[0]["events_per_second"]
            speed = f"{rows[-1]['events_per_second']:,.0f} events/s"
            console.print(f"with {size:,} messages: {speed}")
    return result(rows, count, notes) | {"rounds": all_rounds, "events": count}


def one_round(system, count, console):
    """Return what the worker took for the backlog, with the history in its tables."""
    contender = SYSTEMS["sendlog"]
    empty(system, contender)
    for table in ("events", *(log.state_table for log in projections().values())):
        # The parts themselves, and none is written: the folding views see nothing of it.
        system.client.command(
            f"ALTER TABLE {DATABASE}.{table} ATTACH PARTITION tuple() FROM {HISTORY}.{table}"
        )
    quiet(system.client, console)
    events = system.value(f"SELECT count() FROM {DATABASE}.events")
    one = measure(system, "sendlog", contender, count, already=events)
    return one | {"facts": events, "logs": {log: checksum(system, log) for log in projections()}}


def checksum(system, name):
    """Return the number of rows of a log that the backlog is about, and their checksum."""
    log = projections()[name]
    key = ", ".join(KEY)
    where = (
        f"({key}) IN (SELECT {key} FROM {DATABASE}.{EVENTS.name} "
        f"WHERE source_topic != '{TOPIC}' AND channel = '{log.channel}')"
    )
    states = merge_select(log, f"{DATABASE}.{log.state_table}", where)
    (row,) = system.rows(
        "SELECT count() AS messages, sum(sipHash64(tuple(*))) AS checksum "
        f"FROM ({log_select(log, f'({states})')})"
    )
    return row["messages"], row["checksum"]


def check_same_rows(rounds):
    """Raise `BenchmarkError` unless the same events gave the same rows, whatever was there."""
    if any(one["logs"] != rounds[0]["logs"] for one in rounds) or not all(
        messages for messages, _ in rounds[0]["logs"].values()
    ):
        raise BenchmarkError(f"rounds differ in their rows: {[one['logs'] for one in rounds]}")


def result(rows, count, notes):
    aim = MIN_SHARE * rows[0]["events_per_second"]
    return {
        "title": f"A backlog of {count:,} events, by what is in the tables already",
        "columns": {
            "messages": ("messages", ",.0f"), "facts": ("facts", ",.0f"),
            "events_per_second": ("events/s", ",.0f"), SPREAD[0]: ("least", ",.0f"),
            SPREAD[1]: ("most", ",.0f"), "of_least": ("of the first", ".2f"),
            "worker_cpu": ("worker*", ".2f"), "database_cpu": ("database*", ".2f"),
        },
        "rows": rows,
        "notes": [
            f"the aim: at least {MIN_SHARE} of the throughput with none",
            "* processor seconds per 100,000 events", *notes,
        ],
        "chart": {
            "title": "Throughput by the messages in the tables already",
            "panels": [
                {"title": f"dashed: {MIN_SHARE} of the first", "kind": "lines", "label": "millions",
                 "axis": "messages in the tables, in millions", "goal": aim,
                 "values": {"events_per_second": "median", SPREAD[0]: "least", SPREAD[1]: "most"},
                 "unit": "events/s"},
            ],
        },
    }  # fmt: skip
