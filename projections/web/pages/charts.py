"""Charts as coordinates, which templates draw as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from projections.web.pages.labels import status_text
from projections.web.translation import gettext, number_text

CHART_WIDTH: Final = 720
CHART_HEIGHT: Final = 200
#: Room for the scale, the dates, and the space above the highest bar.
LEFT_MARGIN: Final = 52
BOTTOM_MARGIN: Final = 26
TOP_MARGIN: Final = 16
_PLOT_HEIGHT: Final = CHART_HEIGHT - TOP_MARGIN - BOTTOM_MARGIN
_SCALE_STEPS: Final = (1, 2, 3, 4, 5, 6, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartBlock:
    """The part of a bar for one status."""

    x: float
    y: float
    width: float
    height: float
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartColumn:
    """A day: its blocks from the bottom up, and its counts as text."""

    day: date
    x: float
    width: float
    blocks: tuple[ChartBlock, ...]
    total: int
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Bars per day; `scale` are (y, number), `dates` are (x, day)."""

    columns: tuple[ChartColumn, ...]
    scale: tuple[tuple[float, int], ...]
    dates: tuple[tuple[float, date], ...]


def daily_chart(
    counts: Mapping[tuple[date, str], int], statuses: Sequence[str], since: date, until: date
) -> Chart:
    """Return the chart of counts by (day, status), for all days from `since` to `until`.

    Each bar has its blocks in the order of `statuses`.
    """
    days = [since + timedelta(days=n) for n in range((until - since).days + 1)]
    totals = {day: sum(counts.get((day, status), 0) for status in statuses) for day in days}
    maximum = scale_maximum(max(totals.values(), default=0))
    step = (CHART_WIDTH - LEFT_MARGIN) / len(days)
    columns = []
    for index, day in enumerate(days):
        x = LEFT_MARGIN + index * step
        of_day = [(status, n) for status in statuses if (n := counts.get((day, status), 0))]
        summary = ", ".join(f"{number_text(n)} {status_text(status)}" for status, n in of_day)
        columns.append(
            ChartColumn(day=day, x=round(x, 1), width=round(step, 1),
                        blocks=_blocks(of_day, maximum, x, step),
                        total=totals[day], summary=summary or gettext("none"))
        )  # fmt: skip
    scale = tuple(
        (round(TOP_MARGIN + _PLOT_HEIGHT * (1 - share), 1), round(maximum * share))
        for share in (0, 0.5, 1)
    )
    dates = tuple(
        (round(LEFT_MARGIN + (n + 0.5) * step, 1), day) for n, day in enumerate(days) if n % 7 == 3
    )
    return Chart(columns=tuple(columns), scale=scale, dates=dates)


def _blocks(
    counts: Sequence[tuple[str, int]], maximum: int, x: float, step: float
) -> tuple[ChartBlock, ...]:
    """Return the blocks of a bar, from the bottom up, of counts by status."""
    blocks, top = [], 0
    for status, count in counts:
        top += count
        blocks.append(
            ChartBlock(
                x=round(x + step * 0.1, 1),
                y=round(TOP_MARGIN + _PLOT_HEIGHT * (1 - top / maximum), 1),
                width=round(step * 0.8, 1), height=round(_PLOT_HEIGHT * count / maximum, 1),
                status=status,
            )
        )  # fmt: skip
    return tuple(blocks)


def scale_maximum(largest: int) -> int:
    """Return an even, round number that is `largest` or a little more."""
    size = 1
    while True:
        for step in _SCALE_STEPS:
            if step * size * 2 >= largest:
                return step * size * 2
        size *= 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShare:
    """A group's messages; `segments` are (status, count, start and width in percent)."""

    name: str
    total: int
    segments: tuple[tuple[str, int, float, float], ...]


def group_shares(
    counts: Sequence[tuple[str, str, int]], statuses: Sequence[str], limit: int
) -> list[GroupShare]:
    """Return the `limit` largest groups of (group, status, messages), divided by status."""
    groups: dict[str, dict[str, int]] = {}
    for group, status, messages in counts:
        groups.setdefault(group, {})[status] = messages
    largest_first = sorted(groups.items(), key=lambda item: -sum(item[1].values()))
    shares = []
    for name, of_group in largest_first[:limit]:
        total, start, segments = sum(of_group.values()), 0.0, []
        for status in statuses:
            if count := of_group.get(status, 0):
                width = 100 * count / total
                segments.append((status, count, round(start, 2), round(width, 2)))
                start += width
        shares.append(GroupShare(name=name, total=total, segments=tuple(segments)))
    return shares
