"""`sendlog providers`: the providers with an adapter, and the topics of their feeds."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from processor.cli.rows import RowFormat, print_rows
from processor.kafka.topics import feed_topic
from schemas.providers import adapters
from schemas.providers.signatures import scheme

_TELLS_COLUMNS = (
    "provider", "channel", "names the recipient", "failed attempts", "opens by machines",
    "your ids come back in", "verified by", "batches",
)  # fmt: skip
_COLUMNS = ("provider", "channel", "topic", "about")


def print_providers(
    form: Annotated[
        RowFormat, typer.Option("--format", help="For people or programs.")
    ] = RowFormat.TABLE,
    tells: Annotated[
        bool, typer.Option("--tells", help="What each can tell, and how it is verified.")
    ] = False,
) -> None:
    """List the providers whose feeds can be read; json is a line per provider."""
    if tells:
        print(tells_table(), end="")
        return
    rows = [
        {
            "provider": name,
            "channel": adapter.CHANNEL,
            "topic": feed_topic(adapter.CHANNEL, name),
            "about": (adapter.__doc__ or "").strip().partition("\n")[0],
        }
        for name, adapter in sorted(adapters().items(), key=lambda item: (item[1].CHANNEL, item[0]))
    ]
    if form is not RowFormat.TABLE:
        print_rows(rows, form, columns=list(_COLUMNS), table_columns=_COLUMNS)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, no_wrap=name != "about")
    for row in rows:
        table.add_row(*(Text(row[name]) for name in _COLUMNS))
    Console().print(table)


def tells_table() -> str:
    """Return what the providers can tell as a table in Markdown, as their page has it."""
    rows: list[tuple[str, ...]] = [_TELLS_COLUMNS, ("---",) * len(_TELLS_COLUMNS)]
    for name, adapter in sorted(adapters().items(), key=lambda item: (item[1].CHANNEL, item[0])):
        tells = adapter.TELLS
        rows.append((
            f"`{name}`", adapter.CHANNEL, tells.recipient, "yes" if tells.deferrals else "no",
            "no opens" if tells.opens == "no" else tells.opens, tells.ids or "nothing",
            scheme(name).description, "yes" if tells.batches else "no",
        ))  # fmt: skip
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
