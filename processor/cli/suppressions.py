"""`sendlog suppressions …`: who is blacklisted, why, and how to change it."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Final, cast, get_args

import typer
from rich.console import Console

from processor import suppression_files
from processor.cli import suppression_import, suppression_options
from processor.cli.logs import Format, plain, print_rows
from processor.cli.suppression_options import (
    Actor,
    ChannelName,
    ConfirmComplaint,
    Patience,
    Reason,
    Tenant,
)
from processor.clickhouse import client_of
from processor.settings import load
from processor.suppression_commands import PATIENCE, Answer, command
from processor.suppression_files import address_of
from projections.queries import suppressions
from projections.queries.listing import QueryError
from projections.tables.suppression_history import TABLE as HISTORY
from schemas.addresses import Address, normalised
from schemas.decisions import Rule
from schemas.events import Channel

app = typer.Typer(
    help="The blacklist: who gets nothing more, why, and how to change that.",
    no_args_is_help=True,
)

_ENTRY: Final = (
    "tenant_id", "channel", "address", "rule", "rules", "since", "until", "reason", "actor",
    "effect", "message_id", "cause_event_id",
)  # fmt: skip
_SHOWN: Final = ("since", "channel", "address", "rules", "reason", "until")
_LINES: Final = tuple(HISTORY.columns)
_LINES_SHOWN: Final = ("occurred_at", "change", "rule", "actor", "reason", "message_id")

_Address = Annotated[str, typer.Argument(help="The address or number.")]
_Channel = Annotated[
    ChannelName | None, typer.Option(help="Else by the address: one with an @ is email's.")
]
_Form = Annotated[Format, typer.Option("--format", help="For people or programs.")]


@app.command("list")
def list_(
    tenant: Tenant,
    channel: Annotated[ChannelName | None, typer.Option(help="Only of this channel.")] = None,
    rule: Annotated[str | None, typer.Option(help=f"Only by: {', '.join(get_args(Rule))}.")] = None,
    address: Annotated[str, typer.Option(help="Only addresses with this in them.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many; `export` has all.")] = 100,
    form: _Form = Format.TABLE,
) -> None:
    """List who is blacklisted now, in order of address."""
    settings = load()
    rows = suppressions.listed(
        client_of(settings), settings.clickhouse.database, tenant,
        channel=suppression_options.channel_of(channel),
        rule=cast("Rule | None", rule),  # the query checks it
        address=address, limit=limit,
    )  # fmt: skip
    print_rows(rows, form, columns=list(_ENTRY), shown=_SHOWN)
    if len(rows) == limit:
        Console(stderr=True).print(f"[dim]the first {limit}; more with --limit, or export[/dim]")


@app.command()
def show(
    address: _Address, tenant: Tenant, channel: _Channel = None, form: _Form = Format.TABLE
) -> None:
    """Say why an address is blacklisted, since when, by which message, and what was refused since.

    Of one that is not, say so, and what was last done to it.
    """
    settings, whose = load(), _whose(tenant, channel, address)
    client, database = client_of(settings), settings.clickhouse.database
    found = suppressions.entry(client, database, whose)
    if form is not Format.TABLE:
        columns = [*_ENTRY, "refused_since"]
        print_rows([found] if found else [], form, columns=columns, shown=())
        return
    suppression_options.describe(whose, found, suppressions.history(client, database, whose))


@app.command()
def history(
    address: _Address, tenant: Tenant, channel: _Channel = None, form: _Form = Format.TABLE
) -> None:
    """List what was done to an address, by whom and why, the oldest first.

    A command that was refused is a line, too.
    """
    settings, whose = load(), _whose(tenant, channel, address)
    lines = suppressions.history(client_of(settings), settings.clickhouse.database, whose)
    print_rows(lines, form, columns=list(_LINES), shown=_LINES_SHOWN)


@app.command()
def add(
    address: _Address, tenant: Tenant, reason: Reason, channel: _Channel = None,
    actor: Actor = "", wait: Patience = PATIENCE, form: _Form = Format.TABLE,
) -> None:  # fmt: skip
    """Blacklist an address by hand, and wait until that has taken effect.

    Of a later send to it the log says Invalid. Needs a worker that runs.
    """
    settings, whose = load(), _whose(tenant, channel, address, check=True)
    given = command(
        "add",
        whose,
        actor=suppression_options.actor_of(actor),
        reason=suppression_options.said(reason),
    )
    [answer] = suppression_options.carried_out(settings, [given], wait)
    after = suppressions.entry(client_of(settings), settings.clickhouse.database, whose)
    _report(answer, after, form)


@app.command()
def reset(
    address: _Address, tenant: Tenant, reason: Reason, channel: _Channel = None,
    actor: Actor = "", confirm_complaint: ConfirmComplaint = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; without a terminal nothing is asked.")
    ] = False,
    wait: Patience = PATIENCE, form: _Form = Format.TABLE,
) -> None:  # fmt: skip
    """Take an address off the blacklist, and wait until that has taken effect.

    First shows why it is on it, since when, by which message, and how many messages were refused
    since. Whoever reported spam is only taken off with --confirm-complaint; whoever unsubscribed,
    only by a new subscription. What is in the log stays as it is, and a later hard bounce
    blacklists the address again at once. Needs a worker that runs.
    """
    settings, whose = load(), _whose(tenant, channel, address)
    client, database = client_of(settings), settings.clickhouse.database
    given = command(
        "reset", whose,
        actor=suppression_options.actor_of(actor), reason=suppression_options.said(reason),
        confirmed_complaint=confirm_complaint,
    )  # fmt: skip
    before = suppressions.entry(client, database, whose)
    suppression_options.describe(
        whose, before, suppressions.history(client, database, whose), err=True
    )
    if sys.stdin.isatty() and not yes:
        typer.confirm("Reset it?", abort=True, err=True)
    [answer] = suppression_options.carried_out(settings, [given], wait)
    _report(answer, suppressions.entry(client, database, whose), form)


app.command("import")(suppression_import.import_)


@app.command()
def export(
    tenant: Tenant,
    channel: Annotated[ChannelName | None, typer.Option(help="Only of this channel.")] = None,
    form: Annotated[
        Format, typer.Option("--format", help="csv, which `import` reads, or json.")
    ] = Format.CSV,
) -> None:
    """Print the whole blacklist of a tenant, as CSV that `import` reads.

    As: sendlog suppressions export --tenant acme > blacklist.csv
    """
    settings = load()
    rows = suppressions.exported(
        client_of(settings), settings.clickhouse.database, tenant,
        channel=suppression_options.channel_of(channel),
    )  # fmt: skip
    if form is Format.CSV:
        suppression_files.write(rows, sys.stdout)
    else:
        print_rows(rows, form, columns=list(_ENTRY), shown=_SHOWN)


def _whose(tenant: str, channel: ChannelName | None, text: str, *, check: bool = False) -> Address:
    kind: Channel = suppression_options.channel_of(channel) or ("email" if "@" in text else "sms")
    if not check:
        return Address(tenant, kind, normalised(kind, text))
    try:
        return Address(tenant, kind, address_of(kind, text))
    except ValueError as error:
        raise QueryError(str(error)) from None


def _report(answer: Answer, after: dict[str, Any] | None, form: Format) -> None:
    """Say what became of a command; leave with 1 if it was refused."""
    if form is Format.JSON:
        told = {
            "command_id": answer.command.id, "obeyed": not answer.refusal,
            "refusal": answer.refusal, "entry": after,
        }  # fmt: skip
        print(json.dumps(told, default=plain, ensure_ascii=False))
    elif form is Format.CSV:
        print_rows([answer.line], form, columns=list(_LINES), shown=())
    else:
        suppression_options.conclude(answer, after)
    if answer.refusal:
        raise typer.Exit(1)
