"""Charts as numbers: where the bars of a picture stand. The templates draw them as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 200
#: Room for the scale at the left, the dates below, and above the highest bar.
LEFT: Final = 52
BELOW: Final = 26
ABOVE: Final = 16
_STEPS: Final = (1, 2, 3, 4, 5, 6, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A rectangle of a bar, of one status."""

    x: float
    y: float
    width: float
    height: float
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A day: its blocks from below, and what a reader is told of it."""

    day: date
    x: float
    width: float
    blocks: tuple[Block, ...]
    total: int
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Bars per day; `lines` are (y, number) of the scale, `dates` (x, day) below."""

    columns: tuple[Column, ...]
    lines: tuple[tuple[float, int], ...]
    dates: tuple[tuple[float, date], ...]


def per_day(
    counts: Mapping[tuple[date, str], int], statuses: Sequence[str], since: date, until: date
) -> Chart:
    """Return the chart of (day, status) counts, of all days from `since` to `until`.

    Blocks stand on each other in the order of `statuses`.
    """
    days = [since + timedelta(days=n) for n in range((until - since).days + 1)]
    totals = {day: sum(counts.get((day, status), 0) for status in statuses) for day in days}
    top = ceiling(max(totals.values(), default=0))
    high, step = HEIGHT - ABOVE - BELOW, (WIDTH - LEFT) / len(days)
    columns = []
    for place, day in enumerate(days):
        blocks, under = [], 0
        for status in statuses:
            if count := counts.get((day, status), 0):
                under += count
                blocks.append(
                    Block(
                        x=round(LEFT + place * step + step * 0.1, 1),
                        y=round(ABOVE + high * (1 - under / top), 1),
                        width=round(step * 0.8, 1), height=round(high * count / top, 1),
                        status=status,
                    )
                )  # fmt: skip
        said = ", ".join(f"{counts[day, s]:,} {s}" for s in statuses if counts.get((day, s)))
        columns.append(
            Column(day=day, x=round(LEFT + place * step, 1), width=round(step, 1),
                   blocks=tuple(blocks), total=totals[day], said=said or "none")
        )  # fmt: skip
    lines = tuple((round(ABOVE + high * (1 - part), 1), round(top * part)) for part in (0, 0.5, 1))
    dates = tuple(
        (round(LEFT + (n + 0.5) * step, 1), day) for n, day in enumerate(days) if n % 7 == 3
    )
    return Chart(columns=tuple(columns), lines=lines, dates=dates)


def ceiling(largest: int) -> int:
    """Return an even, round number that is at least so large."""
    size = 1
    while True:
        for step in _STEPS:
            if step * size * 2 >= largest:
                return step * size * 2
        size *= 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A group's messages by status; `parts` are (status, count, start and width in percent)."""

    name: str
    total: int
    parts: tuple[tuple[str, int, float, float], ...]


def shares(
    counts: Sequence[tuple[str, str, int]], statuses: Sequence[str], most: int
) -> list[Share]:
    """Return the largest groups of (group, status, messages), with how each divides."""
    groups: dict[str, dict[str, int]] = {}
    for group, status, messages in counts:
        groups.setdefault(group, {})[status] = messages
    found = []
    for name, by in sorted(groups.items(), key=lambda item: -sum(item[1].values()))[:most]:
        total, start, parts = sum(by.values()), 0.0, []
        for status in statuses:
            if count := by.get(status, 0):
                width = 100 * count / total
                parts.append((status, count, round(start, 2), round(width, 2)))
                start += width
        found.append(Share(name=name, total=total, parts=tuple(parts)))
    return found
