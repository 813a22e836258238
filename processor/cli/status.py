"""`sendlog status`: what is up, and how far behind it is."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from processor.cli.options import OptionError, ReportFormat
from processor.cli.rows import is_terminal, to_json_value, visible_line
from processor.cli.system_status import SystemStatus, read_status
from processor.settings import load

REFRESH_SECONDS: Final = 2.0
_UNKNOWN: Final = "?"
_STYLES: Final = {"up": "green", "not ready": "yellow", "down": "red"}


def print_status(
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="Where a worker serves metrics, as http://10.0.0.7:9101; repeatable."),
    ] = None,
    once: Annotated[bool, typer.Option(help="Print it once, also in a terminal.")] = False,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="For people or programs.")
    ] = ReportFormat.TABLE,
) -> None:
    """Show what is up, how far behind it is, and what went wrong in the last hour.

    In a terminal it is renewed until Ctrl-C; into a pipe it is printed once. Exit code 1: Kafka,
    ClickHouse or every worker is away. API and gateway are looked for where the settings have them.
    """
    urls = [url.rstrip("/") for url in metrics or ()]
    if wrong := [url for url in urls if not url.startswith(("http://", "https://"))]:
        raise OptionError(f"--metrics {wrong[0]}: it is no address like http://10.0.0.7:9101")
    settings = load()
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # what is away has a line of its own
    status = read_status(settings, urls)
    if form is ReportFormat.JSON:
        print(json.dumps(_as_json(status), ensure_ascii=False))
    elif once or not is_terminal():
        for line in _lines(status):
            print(line)
    else:
        with Live(_view(status), console=Console(), auto_refresh=False) as live:
            try:
                while True:
                    time.sleep(REFRESH_SECONDS)
                    status = read_status(settings, urls)
                    live.update(_view(status), refresh=True)
            except KeyboardInterrupt:
                pass
    if not status.works:
        raise typer.Exit(1)


def _as_json(status: SystemStatus) -> dict[str, Any]:
    return {
        "at": to_json_value(status.at),
        "works": status.works,
        "parts": [asdict(part) for part in status.parts],
        "topics": None if status.topics is None else [each._asdict() for each in status.topics],
        "oldest_unacked_seconds": status.oldest_unacked_seconds,
        "last_write": to_json_value(status.last_write),
        "last_hour": None if status.failures is None else status.failures._asdict(),
    }


def _totals(status: SystemStatus) -> Iterator[tuple[str, str, bool]]:
    """Yield what is measured, its value, and whether somebody should look at it."""
    lag = None if status.topics is None else sum(each.records for each in status.topics)
    yield "records behind", _UNKNOWN if lag is None else f"{lag:,}", False
    yield "oldest chunk that is not acked", _age(status.oldest_unacked_seconds), False
    ago = None if status.last_write is None else (status.at - status.last_write).total_seconds()
    yield "last write", _UNKNOWN if ago is None else f"{_age(max(0, ago))} ago", False
    for name in ("dead_letters", "unmatched"):
        count = None if status.failures is None else getattr(status.failures, name)
        text = _UNKNOWN if count is None else f"{count:,}"
        yield f"{name.replace('_', ' ')} of the last hour", text, bool(count)


def _lines(status: SystemStatus) -> Iterator[str]:
    for part in status.parts:
        lacks = visible_line("; ".join(part.lacks))
        yield f"{part.part}\t{part.state}\t{part.where}\t{lacks}".rstrip()
    for topic in status.topics or ():
        if topic.records:
            yield f"lag\t{topic.records}\t{topic.topic}\t{_age(topic.seconds)}"
    for name, value, _ in _totals(status):
        yield f"{name}\t{value}"


def _view(status: SystemStatus) -> Group:
    parts = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("part", "", "where", "lacks"):
        parts.add_column(title)
    for part in status.parts:
        style = _STYLES[part.state] if part.state != "up" or not part.lacks else "yellow"
        parts.add_row(
            part.part, Text(part.state, style=style), Text(part.where),
            Text(visible_line("; ".join(part.lacks)), style=style),
        )  # fmt: skip
    topics = Table(box=None, pad_edge=False, header_style="bold")
    topics.add_column("topic")
    topics.add_column("records behind", justify="right")
    topics.add_column("oldest", justify="right")
    for topic in status.topics or ():
        if topic.records:
            topics.add_row(topic.topic, f"{topic.records:,}", _age(topic.seconds))
    totals = Table(box=None, pad_edge=False, show_header=False)
    for name, value, needs_look in _totals(status):
        totals.add_row(name, Text(value, style="yellow" if needs_look else ""))
    lagging: list[RenderableType] = [topics, ""] if topics.row_count else []
    heading = Text(f"Sendlog at {status.at:%H:%M:%S} UTC\n", style="bold")
    return Group(heading, parts, "", *lagging, totals)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{hours:,.0f} h"
