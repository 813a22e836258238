"""`make bench`: how fast a backlog in Kafka becomes queryable rows, against a stock Faust agent.

Everything in one run, on this machine: a real broker and the real engine beside the worker. Each
system reads the same records with a consumer group of its own into empty tables.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from deploy.local.process import Program, Server
from processor.demo.traffic import Pace, in_order, messages
from tests.system import DATABASE, running, wait_for

PARTS = ("worker_cpu", "broker_cpu", "database_cpu")
console = Console(stderr=True)


def records(count, *, raw):
    start = datetime.now(UTC) - timedelta(days=14)
    found = in_order(messages(1, start, raw=raw, pace=Pace(gap=1.0)))
    if raw:
        found = (record for record in found if record.topic == "email.events.ses")
    return islice(found, count)


def measure(system, name, command, count):
    """Return seconds from the first row to the last, and what was used of the processors."""
    for table in ("events", "email_log_state", "sms_log_state", "dead_letters"):
        system.client.command(f"TRUNCATE TABLE {DATABASE}.{table}")
    group = f"bench-{name.replace(' ', '-')}-{time.time_ns()}"
    program = Program(
        name=name, command=[arg.format(group=group) for arg in command],
        environment={**system.environment, "SENDLOG_KAFKA__GROUP": group}, grace=60,
    )  # fmt: skip
    worker = Server(program, system.folder / f"{group}.log")
    sofar = lambda: system.value(f"SELECT count() FROM {DATABASE}.events")  # noqa: E731
    before = cpu(system)
    with worker:
        wait_for(lambda: sofar() > 0 or not worker.running, f"{name} to write")
        assert worker.running, worker.log.read_text()[-3000:]
        started, first = time.monotonic(), sofar()
        wait_for(lambda: sofar() >= count, f"{name} to finish", patience=1800)
        seconds = time.monotonic() - started
        used = processor_seconds(worker._process.pid)
    after = cpu(system)
    rows = system.value(f"SELECT count() FROM {DATABASE}.events FINAL")
    return {
        "events_per_second": (count - first) / seconds,
        "worker_cpu": used / count * 100_000,
        "broker_cpu": (after["broker"] - before["broker"]) / count * 100_000,
        "database_cpu": (after["engine"] - before["engine"]) / count * 100_000,
        "rows": rows,
    }


def cpu(system):
    return {
        part: processor_seconds(getattr(system, part)._process.pid) for part in ("broker", "engine")
    }


def processor_seconds(pid):
    """Return the processor time of a process and its children so far."""
    total = 0.0
    for child in children(pid):
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / 100
    return total


def children(pid):
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += children(int(child))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=500_000, help="records preloaded")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--raw", action="store_true", help="raw SES payloads, not facts")
    parser.add_argument("--stock-events", type=int, default=100_000)
    parser.add_argument("--stock-batch", type=int, default=1000, help="events per insert of stock")
    parser.add_argument("--only", help="one system")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        console.print(f"preloading {options.events:,} records")
        system.publish(records(options.events, raw=options.raw))
        systems = {
            "sendlog": [sys.executable, "-m", "processor", "worker"],
            "stock Faust": [
                sys.executable, "-m", "tests.benchmarks.stock_faust",
                system.broker.bootstrap, system.engine.url, "{group}", str(options.stock_batch),
            ],
        }  # fmt: skip
        results = {name: [] for name in systems if options.only in (None, name)}
        for number in range(options.rounds):
            for name, rounds in results.items():
                count = options.events if name == "sendlog" else options.stock_events
                count = min(count, options.events)
                result = measure(system, name, systems[name], count)
                rounds.append(result)
                console.print(f"round {number + 1}: {name}: {result}")
    show(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


def show(results):
    table = Table(title="Kafka backlog to queryable rows")
    for title in (
        "system",
        "events/s",
        "spread",
        "CPU s per 100,000: worker",
        "broker",
        "database",
    ):
        table.add_column(title, justify="left" if title == "system" else "right")
    for name, rounds in results.items():
        speeds = [r["events_per_second"] for r in rounds]
        table.add_row(
            name, f"{median(speeds):,.0f}", f"{min(speeds):,.0f} to {max(speeds):,.0f}",
            *(f"{median(r[part] for r in rounds):.2f}" for part in PARTS),
        )  # fmt: skip
    Console().print(table)
    if len(results) == 2:
        ours, stock = (
            median(r["events_per_second"] for r in rounds) for rounds in results.values()
        )
        print(f"sendlog is {ours / stock:.1f} times as fast as stock Faust")


if __name__ == "__main__":
    main()
