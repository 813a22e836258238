"""`sendlog audit`: who looked at, exported or changed what."""

from __future__ import annotations

from typing import Annotated, Final, get_args

import typer

from processor.cli.rows import RowFormat, print_rows
from processor.cli.times import parse_since
from processor.clickhouse import client_of
from processor.settings import load
from projections.queries.audit import AuditAction, AuditFilter, list_audit_lines
from projections.queries.suppressions import check_choice
from projections.tables.audit import TABLE

_TABLE_COLUMNS: Final = (
    "occurred_at", "actor", "via", "action", "object", "detail", "outcome",
)  # fmt: skip


def print_audit(
    tenant: Annotated[
        str, typer.Option(help="Whose; * for what belongs to no single one, as a failed sign-in.")
    ],
    actor: Annotated[str, typer.Option(help="Only of those with this in their name.")] = "",
    action: Annotated[
        str, typer.Option(help=f"Only this: {', '.join(get_args(AuditAction))}.")
    ] = "",
    about: Annotated[
        str, typer.Option("--object", help="Only about what has this in it: an address, an id.")
    ] = "",
    since: Annotated[str | None, typer.Option(help="From then on: a time, a day, or 7d.")] = None,
    until: Annotated[str | None, typer.Option(help="Before then, written in the same way.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    form: Annotated[
        RowFormat, typer.Option("--format", help="For people or programs.")
    ] = RowFormat.TABLE,
) -> None:
    """List who signed in, looked at, exported or changed what, the newest first.

    By pages, embedded pages, the API and commands that change something. Commands that only read
    are not in it: whoever runs them can ask the database anything.
    """
    settings = load()
    if action:
        check_choice("action", action, get_args(AuditAction))
    filter_ = AuditFilter(actor, action, about, parse_since(since), parse_since(until))
    rows = list_audit_lines(
        client_of(settings), settings.clickhouse.database, tenant, filter_, limit=limit
    )
    print_rows(rows, form, columns=list(TABLE.columns), table_columns=_TABLE_COLUMNS)
