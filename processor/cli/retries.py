"""`sendlog retries list`: which messages are sent again, when, and what became of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from processor.cli.logs import Format, print_rows
from processor.clickhouse import client_of
from processor.settings import load
from projections.queries import retries
from schemas.addresses import normalised

app = typer.Typer(
    help="Messages that softly bounced, and are sent again after a while.", no_args_is_help=True
)

_COLUMNS: Final = (
    "message_id", "recipient", "attempt", "state", "due_at", "scheduled_at", "asked_at",
    "answered_at", "cancelled_at", "exhausted_at", "reason",
)  # fmt: skip
_SHOWN: Final = ("due_at", "recipient", "attempt", "state", "answered_at", "reason", "message_id")


class State(StrEnum):
    """What may have become of a retry."""

    SCHEDULED = "scheduled"
    ASKED = "asked"
    ANSWERED = "answered"
    CANCELLED = "cancelled"
    EXHAUSTED = "exhausted"


@app.callback()
def _retries() -> None:
    """Leave `list` a command of its own, though it is the only one."""


@app.command("list")
def list_(
    tenant: Annotated[str, typer.Option(help="Whose retries.")],
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    message_id: Annotated[str | None, typer.Option(help="Only of this message.")] = None,
    recipient: Annotated[str | None, typer.Option(help="Only to this address.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    form: Annotated[
        Format, typer.Option("--format", help="For people or programs.")
    ] = Format.TABLE,
) -> None:
    """List the retries of a tenant, those due last first.

    A line is an attempt after the first. It is `scheduled` until it is due, then `asked` for on
    delivery.retries, and `answered` when the mailer has sent it; `cancelled` if the message arrived
    meanwhile, or its address was blacklisted. `exhausted` is the last attempt of a message that is
    given up.
    """
    settings = load()
    rows = retries.retries(
        client_of(settings), settings.clickhouse.database, tenant,
        state=None if state is None else state.value, message_id=message_id,
        recipient=None if recipient is None else normalised("email", recipient), limit=limit,
    )  # fmt: skip
    print_rows(rows, form, columns=list(_COLUMNS), shown=_SHOWN)
