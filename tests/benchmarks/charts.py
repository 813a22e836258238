"""Draws a result's chart with matplotlib: bars and lines, as PNG and SVG."""

from __future__ import annotations

from itertools import count

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

#: A system has one colour in all charts.
COLOURS = {
    "sendlog": "#d6336c", "stock Faust": "#868e96", "stock Faust, tuned": "#495057",
    "sentry-arroyo": "#7048e8", "quixstreams": "#1c7ed6", "plain consumer": "#0ca678",
    "limit": "#f59f00",
}  # fmt: skip
OTHERS = ("#d6336c", "#1c7ed6", "#0ca678", "#f59f00", "#7048e8", "#495057", "#868e96")


def draw(chart, result, path):
    """Draw a chart of a result into `path` with the endings .png and .svg; return both."""
    panels = chart["panels"]
    bars = [len(_rows(result, panel)) for panel in panels if panel["kind"] != "lines"]
    tall = max(bars, default=6)
    figure = Figure(figsize=(6.4 * len(panels), max(3.6, 1.6 + 0.45 * tall)), layout="constrained")
    figure.suptitle(chart["title"], fontweight="bold")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.set_title(panel["title"], fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        PAINTERS[panel["kind"]](axes, panel, _rows(result, panel))
    files = [path.with_suffix(ending) for ending in (".png", ".svg")]
    for file in files:
        figure.savefig(file, dpi=150)
    return files


def _rows(result, panel):
    return result[panel.get("points", "rows")]


def _bars(axes, panel, rows):
    """Draw a bar per row, of one part in the row's colour or of several in their own."""
    rows = [row for row in rows if any(row.get(each) is not None for each in panel["values"])]
    names = [str(row[panel["label"]]) for row in rows]
    single = len(panel["values"]) == 1
    left = [0.0] * len(rows)
    for (column, legend), colour in zip(panel["values"].items(), OTHERS, strict=False):
        lengths = [row.get(column) or 0.0 for row in rows]
        colours = [COLOURS.get(name, OTHERS[0]) for name in names] if single else colour
        axes.barh(names, lengths, left=left, color=colours, label=legend)
        if single and "spread" in panel:
            low, high = panel["spread"]
            reach = [
                [length - row[low] for row, length in zip(rows, lengths, strict=True)],
                [row[high] - length for row, length in zip(rows, lengths, strict=True)],
            ]
            axes.errorbar(lengths, names, xerr=reach, fmt="none", ecolor="#212529", capsize=3)
        left = [start + length for start, length in zip(left, lengths, strict=True)]
    ends = [max(end, row.get(panel.get("spread", ("", ""))[1]) or 0)
            for end, row in zip(left, rows, strict=True)]  # fmt: skip
    for name, total, end in zip(names, left, ends, strict=True):
        axes.annotate(
            _short(total), (end, name), xytext=(5, 0), textcoords="offset points", va="center",
            fontsize=9,
        )  # fmt: skip
    axes.invert_yaxis()
    _finish(axes, panel, along="x", legend=not single)


def _groups(axes, panel, rows):
    """Draw a group of bars per row, one for each value."""
    names = [str(row[panel["label"]]) for row in rows]
    height = 0.8 / len(panel["values"])
    for number, (column, legend) in enumerate(panel["values"].items()):
        aside = (number - (len(panel["values"]) - 1) / 2) * height
        places = [at + aside for at in range(len(rows))]
        lengths = [row.get(column) or 0.0 for row in rows]
        bars = axes.barh(places, lengths, height * 0.92, color=OTHERS[number], label=legend)
        axes.bar_label(bars, [_short(length) for length in lengths], padding=4, fontsize=8)
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    _finish(axes, panel, along="x", legend=True)


def _lines(axes, panel, rows):
    """Draw a line per value, or per value of the series column."""
    series = panel.get("series")
    lines = dict.fromkeys(row[series] for row in rows) if series else [None]
    colours = (OTHERS[each % len(OTHERS)] for each in count())
    for line in lines:
        ours = [row for row in rows if series is None or row[series] == line]
        for column, legend in panel["values"].items():
            name = legend if line is None else str(line)
            axes.plot(
                [row[panel["label"]] for row in ours], [row[column] for row in ours],
                color=COLOURS.get(name) or next(colours), label=name,
                marker="o" if len(ours) <= 20 else None,
            )  # fmt: skip
    axes.set_xlabel(panel.get("axis", panel["label"]))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    _finish(axes, panel, along="y", legend=len(axes.lines) > 1)


def _finish(axes, panel, *, along, legend):
    which = axes.xaxis if along == "x" else axes.yaxis
    which.set_label_text(panel["unit"])
    which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    if along == "x":
        axes.margins(x=0.16)
        axes.tick_params(axis="x", labelsize=8)
    if "goal" in panel:
        line = axes.axvline if along == "x" else axes.axhline
        line(panel["goal"], color="#212529", linestyle="--", linewidth=1)
    if legend:
        axes.legend(fontsize=8, frameon=False)


def _short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


PAINTERS = {"bars": _bars, "groups": _groups, "lines": _lines}
