"""Rows as all listings print them: a table, lines with tabs, JSON lines or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from projections.queries.export import formula_safe
from schemas.addresses import shown_address
from schemas.events import iso_milliseconds


class RowFormat(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


STATUS_STYLES = {
    "Bounce": "red", "Invalid": "red", "Rejected": "red", "Undelivered": "red", "Failed": "red",
    "Skipped": "yellow", "Sent": "blue", "Queued": "blue",
    "Delivery": "green", "Delivered": "green",
    "Open": "bold green", "Click": "bold green", "Received": "bold green",
}  # fmt: skip
#: A narrower terminal has no room for a message's id.
MIN_CHARACTERS_WITH_IDS = 130
#: Columns that share the rest of a line, and the widths of those that may be cut off.
_FLEXIBLE_COLUMNS = ("subject", "text", "status_reason", "reason")
_MAX_CHARACTERS = {"recipient": 28}
_DEFAULT_MAX_CHARACTERS = 36
#: Control characters become their pictures, those of the second block one of their own.
_CONTROL_PICTURES: Final = {
    **{code: chr(0x2400 + code) for code in range(32)}, 0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
}  # fmt: skip


def print_rows(
    rows: Iterable[dict[str, Any]],
    form: RowFormat,
    *,
    columns: list[str],
    table_columns: Iterable[str],
    total: Callable[[], str] = str,
) -> None:
    """Print rows as a table of `table_columns`, or with all `columns` as json lines or csv.

    In a pipe a table is lines with tabs between whole values. `total` is how many rows there are.
    """
    match form:
        case RowFormat.JSON:
            for row in rows:
                values = {name: to_json_value(row[name]) for name in columns}
                print(json.dumps(values, ensure_ascii=False))
        case RowFormat.CSV:
            writer = csv.writer(sys.stdout)
            writer.writerow(columns)
            writer.writerows([formula_safe(_cell(row[name])) for name in columns] for row in rows)
        case RowFormat.TABLE if is_terminal():
            _print_table(list(rows), list(table_columns), total)
        case RowFormat.TABLE:
            _print_lines(rows, list(table_columns))


def is_terminal() -> bool:
    """Return whether rows are printed for somebody to see them, not into a pipe or a file."""
    return sys.stdout.isatty()


def _print_lines(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    print("\t".join(columns))
    for row in rows:
        print("\t".join(visible_line(_cell(row[name])) for name in columns))


def visible_line(text: str) -> str:
    """Return a text in one line in which control characters are visible: they may move a cursor."""
    return text.translate(_CONTROL_PICTURES)


def _print_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], total: Callable[[], str]
) -> None:
    console = Console()
    # A row is one line, and half of an id is of no use: without room for all of it there is none.
    has_ids = console.width >= MIN_CHARACTERS_WITH_IDS
    fitting = [name for name in columns if name != "message_id" or has_ids]
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    cells = [[_styled(name, row[name]) for name in fitting] for row in rows]
    for place, name in enumerate(fitting):
        longest = max((len(row[place]) for row in cells), default=0)
        table.add_column(
            name.removeprefix("status_").replace("_", " "),
            no_wrap=name != "reason",
            overflow="fold" if name == "reason" else "ellipsis",
            width=None
            if name in _FLEXIBLE_COLUMNS
            else max(min(longest, _MAX_CHARACTERS.get(name, _DEFAULT_MAX_CHARACTERS)), len(name)),
            ratio=1 if name in _FLEXIBLE_COLUMNS else None,
        )
    for line in cells:
        table.add_row(*line)
    console.print(table)
    hint = "" if fitting == columns else "; the ids are in --format json, or in a wider window"
    of_all = f" of {words}" if (words := total()) else ""
    Console(stderr=True).print(f"[dim]{len(rows)}{of_all} rows{hint}[/dim]")


def to_json_value(value: Any) -> Any:
    """Return a value for JSON, with times in ISO 8601."""
    if isinstance(value, datetime):
        return iso_milliseconds(value)
    return value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(to_json_value(value))


def _styled(name: str, value: Any) -> Text:
    text = f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else _cell(value)
    if name in ("recipient", "address"):
        text = shown_address(text)
    return Text(visible_line(text), style=STATUS_STYLES.get(text, "") if name == "status" else "")
