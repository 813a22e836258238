"""`make bench`: measures on this machine, and writes tables, JSON and charts to bench-results/."""

from __future__ import annotations

import argparse
import ast
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from rich.console import Console

from tests.benchmarks import report
from tests.benchmarks.measure import NO_JOURNAL, machine
from tests.benchmarks.report import BenchmarkError, Options


def benchmark_descriptions():
    """Return the first line of each benchmark's docstring, by name, importing none of them."""
    modules = (ast.parse(path.read_text()) for path in sorted(Path(__file__).parent.glob("*.py")))
    return {
        part.value.value: ast.get_docstring(module).splitlines()[0]
        for module in modules for part in module.body
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "NAME"
    }  # fmt: skip


def main():
    options = arguments(sys.argv[1:])
    console = Console(stderr=True)
    where = machine()
    if where["machine"]["disk"] == NO_JOURNAL:
        console.print(f"{tempfile.gettempdir()} is on {NO_JOURNAL}, where the engine writes slowly")
    failed = []
    for name in options.names:
        started = time.monotonic()
        console.rule(name)
        chosen = Options(
            events=options.events, rounds=options.rounds, raw=options.raw,
            only=tuple(options.only), quick=options.quick, folder=options.folder,
            messages=tuple(options.messages), runs=options.runs, feed=options.feed,
        )  # fmt: skip
        try:
            result = import_module(f"tests.benchmarks.{name}").run(chosen, console)
        except BenchmarkError as error:
            console.print(f"{name} does not count: {error}", style="bold red", markup=False)
            failed.append(name)
            continue
        Console(width=max(100, Console().width)).print(report.table(result))
        stem = f"{name}-raw" if options.raw else name
        files = report.write(stem, result, where, options.folder)
        console.print(f"{time.monotonic() - started:.0f} s; wrote {', '.join(map(str, files))}")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def arguments(values):
    benchmarks = benchmark_descriptions()
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__,
        epilog="\n".join(f"  {name:10} {what}" for name, what in benchmarks.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=benchmarks, default="intake",
        help="benchmarks to run, default: intake",
    )  # fmt: skip
    parser.add_argument("--events", type=int, metavar="N", help="how many, where there is a choice")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="default: 3; growth 2, rebuild 1; queries: --runs"
    )
    parser.add_argument("--raw", action="store_true", help="raw SES payloads instead of facts")
    parser.add_argument(
        "--only", action="append", default=[], metavar="SYSTEM", help="one system; may be repeated"
    )
    parser.add_argument(
        "--messages", action="extend", default=[], type=numbers, metavar="N[,N]",
        help="messages in the tables already: growth takes each, other benchmarks the largest",
    )  # fmt: skip
    parser.add_argument("--runs", type=int, metavar="N", help="of each query, default: 200")
    parser.add_argument(
        "--feed", type=int, default=2_000, metavar="N",
        help="events written each second beside the queries, default: 2000; 0: none",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work at all?")
    parser.add_argument("--folder", type=Path, default=Path("bench-results"), help="for results")
    options = parser.parse_args(values)
    options.names = [options.names] if isinstance(options.names, str) else options.names
    return options


def numbers(text):
    """Read "0,1000000". Raises `ValueError`."""
    values = [int(number) for number in text.split(",")]
    if min(values) < 0:
        raise ValueError(text)
    return values


if __name__ == "__main__":
    main()
