"""`sendlog retries list`: the retries of messages, and their states."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from processor.cli.rows import RowFormat, print_rows
from processor.clickhouse import client_of
from processor.settings import load
from projections.queries import retries
from schemas.addresses import normalise_address

app = typer.Typer(
    help="Messages that softly bounced, and are sent again after a while.", no_args_is_help=True
)

_COLUMNS: Final = (
    "message_id", "recipient", "attempt", "state", "due_at", "scheduled_at", "asked_at",
    "answered_at", "cancelled_at", "exhausted_at", "reason",
)  # fmt: skip
_TABLE_COLUMNS: Final = (
    "due_at",
    "recipient",
    "attempt",
    "state",
    "answered_at",
    "reason",
    "message_id",
)


class RetryStateName(StrEnum):
    """The states of a retry, as an option."""

    SCHEDULED = "scheduled"
    REQUESTED = "asked"
    ANSWERED = "answered"
    CANCELLED = "cancelled"
    EXHAUSTED = "exhausted"


@app.callback()
def _retries() -> None:
    """Do nothing; a callback keeps `list` a subcommand, though it is the only one."""


@app.command("list")
def print_retries(
    tenant: Annotated[str, typer.Option(help="Whose retries.")],
    state: Annotated[RetryStateName | None, typer.Option(help="Only those in this state.")] = None,
    message_id: Annotated[str | None, typer.Option(help="Only of this message.")] = None,
    recipient: Annotated[str | None, typer.Option(help="Only to this address.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    form: Annotated[
        RowFormat, typer.Option("--format", help="For people or programs.")
    ] = RowFormat.TABLE,
) -> None:
    """List the retries of a tenant, those due last first.

    A line is an attempt after the first. It is `scheduled` until it is due, then `asked` for on
    delivery.retries, and `answered` when the mailer has sent it; `cancelled` if the message arrived
    meanwhile, or its address was blacklisted. `exhausted` is the last attempt of a message that is
    given up.
    """
    settings = load()
    rows = retries.list_retries(
        client_of(settings), settings.clickhouse.database, tenant,
        state=None if state is None else state.value, message_id=message_id,
        recipient=None if recipient is None else normalise_address("email", recipient), limit=limit,
    )  # fmt: skip
    print_rows(rows, form, columns=list(_COLUMNS), table_columns=_TABLE_COLUMNS)
