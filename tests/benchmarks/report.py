"""What a benchmark gives, and how it is shown: a table, JSON, a chart.

A benchmark is a module of this folder with a docstring whose first line says what it measures, a
`NAME`, and `run(options, console)`, which takes `Options` and a rich console on standard error for
its progress, and returns a `Result`. It raises `BenchmarkError` if what it measured is wrong.
`tests.benchmarks.__main__` has the table of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, NotRequired, TypedDict

from rich.table import Table


class BenchmarkError(RuntimeError):
    """What was measured does not count: a system gave other rows, or never finished."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for; `None` leaves a size to the benchmark."""

    events: int | None = None
    rounds: int | None = None
    raw: bool = False
    only: tuple[str, ...] = ()  # names of systems; none: all
    quick: bool = False
    folder: Path = Path("bench-results")
    messages: tuple[int, ...] = ()  # how many are in the tables already
    runs: int | None = None  # of each query
    feed: int = 2_000  # events a second beside the queries

    def sized(self, usual: int, quick: int) -> int:
        """Return how many events to take where a benchmark has a usual and a quick size."""
        return self.events or (quick if self.quick else usual)

    def present(self, usual: int, quick: int) -> int:
        """Return how many messages are in the tables, where that is one number."""
        return max(self.messages, default=quick if self.quick else usual)

    def repeated(self, usual: int = 3) -> int:
        """Return how many rounds to run; a quick run has one."""
        return self.rounds or (1 if self.quick else usual)

    def wants(self, system: str) -> bool:
        """Whether a system is among those asked for."""
        return not self.only or system in self.only


class Panel(TypedDict):
    """One pair of axes of a chart, drawn from the result's `rows`.

    bars: a bar per row, named by the row's `label`; `values` are its parts, stacked, each with its
    legend; with one part, `spread` may name the columns of the least and the most.
    groups: the same, with the parts side by side.
    lines: `label` is the column along the x axis, `values` the lines; `series` names a column that
    splits rows into a line each.
    """

    title: str
    kind: Literal["bars", "groups", "lines"]
    label: str
    values: dict[str, str]  # column: legend
    unit: str  # of the values, with what they are
    axis: NotRequired[str]  # lines: what the x axis is, with its unit
    spread: NotRequired[tuple[str, str]]
    series: NotRequired[str]
    points: NotRequired[str]  # another list of the result to draw from, instead of `rows`
    goal: NotRequired[float]  # drawn as a dashed line


class Chart(TypedDict):
    """A figure: a title and panels side by side."""

    title: str
    panels: list[Panel]


class Result(TypedDict):
    """What a benchmark measured. Other keys are allowed, and kept in the JSON."""

    title: str
    rows: list[dict[str, Any]]
    columns: NotRequired[dict[str, tuple[str, str]]]  # column: heading, format; default: all
    notes: NotRequired[list[str]]  # shown under the table
    chart: NotRequired[Chart]


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def summary(values: list[float], name: str) -> dict[str, float]:
    """Return the median of rounds as `name`, with the least and the most beside it."""
    return {name: median(values), f"{name}_low": min(values), f"{name}_high": max(values)}


def table(result: Result) -> Table:
    """Return a result as a table for the terminal."""
    rows = result["rows"]
    columns = result.get("columns") or {name: (name, "") for name in rows[0]}
    drawn = Table(title=result["title"], caption="\n".join(result.get("notes", [])) or None)
    drawn.caption_justify = "left"
    for name, (heading, _) in columns.items():
        numeric = any(isinstance(row.get(name), int | float) for row in rows)
        drawn.add_column(heading, justify="right" if numeric else "left", no_wrap=not numeric)
    for row in rows:
        drawn.add_row(*(_cell(row.get(name), how) for name, (_, how) in columns.items()))
    return drawn


def _cell(value: Any, how: str) -> str:
    if value is None:
        return ""
    return format(value, how) if isinstance(value, int | float) else str(value)


def write(name: str, result: Result, machine: dict[str, Any], folder: Path) -> list[Path]:
    """Write a result as JSON, and as a chart if it has one; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.json"]
    written[0].write_text(json.dumps({"benchmark": name, **machine, **result}, indent=2) + "\n")
    if "chart" in result:
        from tests.benchmarks.charts import draw  # noqa: PLC0415 - matplotlib, when it is needed

        written += draw(result["chart"], result, folder / name)
    return written
