"""`sendlog unmatched`: events that fit no message, and messages that they may be of."""

from __future__ import annotations

from typing import Annotated

import typer

from processor.cli.rows import RowFormat, print_rows
from processor.cli.times import parse_since
from processor.clickhouse import client_of
from processor.settings import load
from projections.queries.unmatched import UNMATCHED_COLUMNS, list_unmatched


def print_unmatched(
    tenant: Annotated[str, typer.Option(help="Whose events.")],
    since: Annotated[
        str | None, typer.Option(help="From this time on, as 2026-11-24T10:00; else a week.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    form: Annotated[RowFormat, typer.Option("--format", help="How.")] = RowFormat.TABLE,
) -> None:
    """List events that fit no message, the newest first, with why.

    `near` are messages to the same address that were sent in the minutes before: guesses. To join
    an event to one, publish a note with both ids.
    """
    settings = load()
    rows = list_unmatched(
        client_of(settings), settings.clickhouse.database, tenant,
        since=parse_since(since), limit=limit,
    )  # fmt: skip
    print_rows(rows, form, columns=list(UNMATCHED_COLUMNS), table_columns=UNMATCHED_COLUMNS)
