"""`sendlog suppressions …`: read and change the blacklist."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Final, cast, get_args

import typer
from rich.console import Console

from processor import suppression_files
from processor.cli import suppression_import, suppression_options
from processor.cli.options import OptionError
from processor.cli.rows import RowFormat, print_rows, to_json_value
from processor.cli.suppression_options import (
    ActorOption,
    ChannelName,
    ConfirmComplaintOption,
    ReasonOption,
    TenantOption,
    TimeoutOption,
)
from processor.clickhouse import client_of
from processor.provider_lists.list_files import WRITTEN_LISTS, write_list
from processor.settings import Settings, load
from processor.suppression_commands import (
    DEFAULT_TIMEOUT_SECONDS,
    CommandOutcome,
    new_command,
    publish_commands,
)
from projections.queries import suppressions
from projections.queries.audit import AuditLine, store_audit_lines
from projections.tables.suppression_history import TABLE as HISTORY
from schemas.addresses import Address, normalise_address, parse_address
from schemas.decisions import RuleName
from schemas.events import Channel
from schemas.resets import ProviderRemoval

app = typer.Typer(
    help="The blacklist: who gets nothing more, why, and how to change that.",
    no_args_is_help=True,
)

_ENTRY_COLUMNS: Final = (
    "tenant_id", "channel", "address", "rule", "rules", "since", "until", "reason", "actor",
    "effect", "message_id", "cause_event_id",
)  # fmt: skip
_TABLE_COLUMNS: Final = ("since", "channel", "address", "rules", "reason", "until")
_HISTORY_COLUMNS: Final = tuple(HISTORY.columns)
_HISTORY_TABLE_COLUMNS: Final = ("occurred_at", "change", "rule", "actor", "reason", "message_id")

_AddressArgument = Annotated[str, typer.Argument(help="The address or number.")]
_ChannelOption = Annotated[
    ChannelName | None, typer.Option(help="Else by the address: one with an @ is email's.")
]
_FormatOption = Annotated[RowFormat, typer.Option("--format", help="For people or programs.")]


@app.command("list")
def print_suppressions(
    tenant: TenantOption,
    channel: Annotated[ChannelName | None, typer.Option(help="Only of this channel.")] = None,
    rule: Annotated[
        str | None, typer.Option(help=f"Only by: {', '.join(get_args(RuleName))}.")
    ] = None,
    address: Annotated[str, typer.Option(help="Only addresses with this in them.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many; `export` has all.")] = 100,
    form: _FormatOption = RowFormat.TABLE,
) -> None:
    """List who is blacklisted now, in order of address."""
    settings = load()
    rows = suppressions.list_entries(
        client_of(settings), settings.clickhouse.database, tenant,
        channel=suppression_options.channel_of(channel),
        rule=cast("RuleName | None", rule),  # the query checks it
        address=address, limit=limit,
    )  # fmt: skip
    print_rows(rows, form, columns=list(_ENTRY_COLUMNS), table_columns=_TABLE_COLUMNS)
    if len(rows) == limit:
        Console(stderr=True).print(f"[dim]the first {limit}; more with --limit, or export[/dim]")


@app.command("show")
def print_suppression(
    address: _AddressArgument,
    tenant: TenantOption,
    channel: _ChannelOption = None,
    form: _FormatOption = RowFormat.TABLE,
) -> None:
    """Say why an address is blacklisted, since when, by which message, and what was refused since.

    Of one that is not, say so, and what was last done to it.
    """
    settings = load()
    target = _address(settings, tenant, channel, address)
    client, database = client_of(settings), settings.clickhouse.database
    entry = suppressions.find_entry(client, database, target)
    if form is not RowFormat.TABLE:
        columns = [*_ENTRY_COLUMNS, "refused_since"]
        print_rows([entry] if entry else [], form, columns=columns, table_columns=())
        return
    suppression_options.print_suppression_state(
        target, entry, suppressions.entry_history(client, database, target)
    )


@app.command("history")
def print_history(
    address: _AddressArgument,
    tenant: TenantOption,
    channel: _ChannelOption = None,
    form: _FormatOption = RowFormat.TABLE,
) -> None:
    """List what was done to an address, by whom and why, the oldest first.

    A command that was refused is a line, too.
    """
    settings = load()
    target = _address(settings, tenant, channel, address)
    rows = suppressions.entry_history(client_of(settings), settings.clickhouse.database, target)
    print_rows(rows, form, columns=list(_HISTORY_COLUMNS), table_columns=_HISTORY_TABLE_COLUMNS)


@app.command("add")
def add_suppression(
    address: _AddressArgument, tenant: TenantOption, reason: ReasonOption,
    channel: _ChannelOption = None, actor: ActorOption = "",
    wait: TimeoutOption = DEFAULT_TIMEOUT_SECONDS, form: _FormatOption = RowFormat.TABLE,
) -> None:  # fmt: skip
    """Blacklist an address by hand, and wait until that has taken effect.

    Of a later send to it the log says Invalid. Needs a worker that runs.
    """
    settings = load()
    target = _address(settings, tenant, channel, address, check=True)
    command = new_command(
        "add",
        target,
        actor=suppression_options.actor_of(actor),
        reason=suppression_options.checked_reason(reason),
    )
    [outcome] = suppression_options.carry_out(settings, [command], wait)
    entry = suppressions.find_entry(client_of(settings), settings.clickhouse.database, target)
    _print_report(outcome, entry, form)


@app.command("reset")
def reset_suppression(
    address: _AddressArgument, tenant: TenantOption, reason: ReasonOption,
    channel: _ChannelOption = None, actor: ActorOption = "",
    confirm_complaint: ConfirmComplaintOption = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; without a terminal nothing is asked.")
    ] = False,
    wait: TimeoutOption = DEFAULT_TIMEOUT_SECONDS, form: _FormatOption = RowFormat.TABLE,
) -> None:  # fmt: skip
    """Take an address off the blacklist, and wait until that has taken effect.

    First shows why it is on it, since when, by which message, and how many messages were refused
    since. Whoever reported spam is only taken off with --confirm-complaint; whoever unsubscribed,
    only by a new subscription. Where SENDLOG_API__PROVIDER_ACCOUNTS names the tenant's accounts, it
    is taken off its providers' own lists, too. What is in the log stays as it is, and a later hard
    bounce blacklists the address again at once. Needs a worker that runs.
    """
    settings = load()
    target = _address(settings, tenant, channel, address)
    client, database = client_of(settings), settings.clickhouse.database
    command = new_command(
        "reset",
        target,
        actor=suppression_options.actor_of(actor),
        reason=suppression_options.checked_reason(reason),
        confirmed_complaint=confirm_complaint,
    )
    entry = suppressions.find_entry(client, database, target)
    suppression_options.print_suppression_state(
        target, entry, suppressions.entry_history(client, database, target), err=True
    )
    if sys.stdin.isatty() and not yes:
        typer.confirm("Reset it?", abort=True, err=True)
    [outcome] = suppression_options.carry_out(settings, [command], wait)
    removals = suppression_options.remove_after_command(settings, outcome)
    _print_report(outcome, suppressions.find_entry(client, database, target), form, removals)


app.command("import")(suppression_import.import_suppressions)


@app.command("export")
def export_suppressions(
    tenant: TenantOption,
    channel: Annotated[ChannelName | None, typer.Option(help="Only of this channel.")] = None,
    form: Annotated[
        RowFormat, typer.Option("--format", help="csv, which `import` reads, or json.")
    ] = RowFormat.CSV,
    written: Annotated[
        str, typer.Option("--as", help=f"As a provider takes it: {', '.join(WRITTEN_LISTS)}.")
    ] = "",
) -> None:
    """Print the whole blacklist of a tenant, as CSV that `import` reads.

    With --as it is what a provider takes; what is not carried over is said on standard error.

    As: sendlog suppressions export --tenant acme > blacklist.csv
    """
    settings = load()
    if written and written not in WRITTEN_LISTS:
        raise OptionError(f"--as {written!r} is unknown; there are {', '.join(WRITTEN_LISTS)}")
    rows = suppressions.export_entries(
        client_of(settings), settings.clickhouse.database, tenant,
        channel=suppression_options.channel_of(channel),
    )  # fmt: skip
    if written:
        _print_written(written, rows)
    elif form is RowFormat.CSV:
        suppression_files.write_entries(rows, sys.stdout)
    else:
        print_rows(rows, form, columns=list(_ENTRY_COLUMNS), table_columns=_TABLE_COLUMNS)


def _print_written(name: str, entries: Iterable[Mapping[str, Any]]) -> None:
    """Print entries as a provider takes them; say what is not carried over."""
    report = write_list(name, entries, print)
    status = Console(stderr=True)
    for why, count in report.left_out.items():
        status.print(f"left out: {count:,} {why}", highlight=False)
    lost = WRITTEN_LISTS[name].lost
    status.print(f"{report.written:,} written; not carried over: {lost}", soft_wrap=True)


@app.command("publish")
def publish_suppressions(tenant: TenantOption, actor: ActorOption = "") -> None:
    """Have the whole blacklist of a tenant published again, for a mailer that is new to it.

    Workers publish each entry as it is by then, on delivery.suppressions and on the topics of the
    tenant's mailers, in order with what changes meanwhile. Nothing else changes. Safe to repeat.
    """
    settings = load()
    client, database = client_of(settings), settings.clickhouse.database
    rows = suppressions.export_entries(client, database, tenant)
    actor, count = suppression_options.actor_of(actor), 0
    while batch := list(islice(rows, suppression_options.MAX_BATCH_COMMANDS)):
        publish_commands(settings.kafka, [
            new_command(
                "publish", Address(tenant, row["channel"], row["address"]),
                actor=actor, reason="the blacklist is published again",
            ) for row in batch
        ])  # fmt: skip
        count += len(batch)
    line = AuditLine(tenant_id=tenant, actor=actor, via="cli", action="publish")
    store_audit_lines(client, database, [line])
    print(f"workers are asked to publish {count:,} entries")


def _address(
    settings: Settings, tenant: str, channel: ChannelName | None, text: str, *, check: bool = False
) -> Address:
    """Return an address of a tenant. Raises `AddressError` on a `check` if it is none."""
    kind: Channel = suppression_options.channel_of(channel) or ("email" if "@" in text else "sms")
    read = parse_address if check else normalise_address
    return Address(tenant, kind, read(kind, text, settings.numbers.by_tenant.of(tenant)))


def _print_report(
    outcome: CommandOutcome, entry: dict[str, Any] | None, form: RowFormat,
    removals: Sequence[ProviderRemoval] = (),
) -> None:  # fmt: skip
    """Print the outcome of a command; exit with code 1 if it was refused."""
    if form is RowFormat.JSON:
        report = {
            "command_id": outcome.command.id, "obeyed": not outcome.rejection,
            "refusal": outcome.rejection, "entry": entry,
            "provider_lists": [each._asdict() for each in removals],
        }  # fmt: skip
        print(json.dumps(report, default=to_json_value, ensure_ascii=False))
    elif form is RowFormat.CSV:
        print_rows([outcome.history_row], form, columns=list(_HISTORY_COLUMNS), table_columns=())
    else:
        suppression_options.print_outcome(outcome, entry, removals)
    if outcome.rejection:
        raise typer.Exit(1)
