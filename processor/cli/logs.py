"""`sendlog log` and `sendlog explain`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from processor.cli.options import OptionError
from processor.cli.rows import (
    STATUS_STYLES,
    RowFormat,
    is_terminal,
    print_rows,
    to_json_value,
)
from processor.cli.times import relative_time
from processor.clickhouse import client_of
from processor.settings import load
from projections.queries.days import by_day
from projections.queries.export import MAX_EXPORT_ROWS
from projections.queries.listing import SORTS, Filter, Listing, QueryError
from projections.queries.page import read_listing
from projections.queries.plain_reasons import reason_with_code
from projections.queries.timeline import PAGE_EVENTS, tenants_with
from projections.queries.timeline import explain_message as explanation_of_message
from projections.queries.totals import count_rows
from projections.tables import log_of
from schemas.addresses import normalise_address
from schemas.events import Channel


class LogName(StrEnum):
    """The logs, as an argument."""

    EMAIL = "email"
    SMS = "sms"


_TABLE_COLUMNS = {
    "email": ("date", "recipient", "subject", "status", "status_reason", "message_id"),
    "sms": ("date", "recipient", "text", "status", "status_reason", "message_id"),
}
#: Rows of a table, unless another number is asked for.
TABLE_ROWS = 50
#: How long rows are counted for the line below a table.
COUNT_SECONDS = 2.0


def print_log(
    channel: Annotated[LogName, typer.Argument(help="Which log.")],
    tenant: Annotated[str, typer.Option(help="Whose log.")],
    status: Annotated[
        list[str] | None,
        typer.Option(help="As Bounce, Open, Delivered, …; can be repeated, and one must hold."),
    ] = None,
    recipient: Annotated[str | None, typer.Option(help="Address or number.")] = None,
    record_id: Annotated[str | None, typer.Option(help="The family or staff record.")] = None,
    record_type: Annotated[str | None, typer.Option(help="family, staff, …")] = None,
    message_id: Annotated[str | None, typer.Option()] = None,
    campaign: Annotated[str | None, typer.Option()] = None,
    provider: Annotated[str | None, typer.Option()] = None,
    contains: Annotated[
        str | None, typer.Option(help="Part of the subject, or of the SMS text.")
    ] = None,
    record: Annotated[
        str | None, typer.Option(help="The record, as family/F-1162 or F-1162.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From this day or time on, UTC; or 7d, 12h, yesterday.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="To this day, with it, or time, UTC; or 7d, 12h, yesterday.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="A condition on any column: NAME=VALUE, or != < <= > >=, or ~ for 'contains'; "
            "can be repeated. As: --where 'open_count>=2' --where 'diagnostic~spam'."
        ),
    ] = None,
    sort: Annotated[str, typer.Option(help=f"One of: {', '.join(SORTS)}.")] = "date",
    ascending: Annotated[bool, typer.Option("--ascending", help="Smallest first.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many rows; else 50 on a terminal, or all.")
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="The log as it was at this time, UTC.")] = None,
    clock: Annotated[
        str, typer.Option(help="--as-of by what had 'occurred', or had been 'recorded'.")
    ] = "occurred",
    form: Annotated[
        RowFormat, typer.Option("--format", help="For people or programs.")
    ] = RowFormat.TABLE,
) -> None:
    """Print the Email Log or the SMS Log of a tenant, the newest first.

    The table shows what fits, 50 rows unless --limit says otherwise; in a pipe it is lines with
    tabs, whole and all of them. json (a line per row) and csv have every column, too.
    """
    kind: Channel = "email" if channel is LogName.EMAIL else "sms"
    values = {
        "recipient": recipient, "message_id": message_id,
        "record_type": record_type, "record_id": record_id, "campaign": campaign,
        "provider": provider,
    }  # fmt: skip
    if record is not None:
        values |= _record_values(record, values)
    settings = load()
    region = settings.numbers.by_tenant.of(tenant)
    filters = [
        each.normalised(kind, region)
        for each in _filters(kind, values, contains, since, until, where or [])
    ]
    if status:
        filters.append(_status_filter(kind, status))
    filters = list(by_day(log_of(kind), filters, datetime.now(UTC).date()))
    if clock not in ("occurred", "recorded"):
        raise QueryError(f"--clock is occurred or recorded, not {clock!r}")
    is_page = form is RowFormat.TABLE and is_terminal()
    listing = Listing(
        channel=kind, tenant=tenant, filters=filters, sort=sort,
        descending=not ascending and sort == "date",
        limit=limit or (TABLE_ROWS if is_page else MAX_EXPORT_ROWS),
        as_of=_parse_time(as_of) if as_of else None,
        clock=clock,  # type: ignore[arg-type]
    )  # fmt: skip
    client, database = client_of(settings), settings.clickhouse.database

    def total() -> str:
        counted = count_rows(client, database, listing, seconds=COUNT_SECONDS)
        return counted.words if counted else ""

    rows = read_listing(client, database, listing)
    if form is RowFormat.TABLE:
        rows = ({**row, "status_reason": reason_with_code(kind, row)} for row in rows)
    print_rows(
        rows, form, columns=list(log_of(kind).columns), table_columns=_TABLE_COLUMNS[kind],
        total=total,
    )  # fmt: skip


def _record_values(record: str, values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the values of a record by column. Raises `OptionError` beside its own options."""
    if values["record_type"] or values["record_id"]:
        raise OptionError("--record is --record-type and --record-id in one: say it or these")
    record_type, slash, record_id = record.partition("/")
    return {"record_type": record_type, "record_id": record_id} if slash else {"record_id": record}


def _filters(
    channel: Channel,
    values: Mapping[str, str | None],
    contains: str | None,
    since: str | None,
    until: str | None,
    where: Iterable[str],
) -> list[Filter]:
    """Return the filters of the options; `values` are those of the other columns, by name."""
    filters = [Filter(name, "=", value) for name, value in values.items() if value is not None]
    if contains is not None:
        filters.append(Filter("subject" if channel == "email" else "text", "~", contains))
    now = datetime.now(UTC)
    for operator, text in ((">=", since), ("<=", until)):
        if text:
            time = relative_time(text, now)
            filters.append(Filter("date", operator, time.isoformat() if time else text))
    filters += [Filter.parse(text) for text in where]
    return filters


def _status_filter(channel: Channel, statuses: Sequence[str]) -> Filter:
    """Return the filter by some statuses. Raises a usage error that names those there are."""
    try:
        return Filter.of_statuses(log_of(channel), statuses)
    except QueryError as error:
        raise typer.BadParameter(str(error), param_hint="--status") from None


def _parse_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(f"{text!r} is no time; write it as 2026-11-24T10:00") from None


def explain_message(
    message_id: Annotated[str, typer.Argument(help="The message's id, as the log shows it.")],
    recipient: Annotated[str, typer.Argument(help="The address or number.")],
    tenant: Annotated[
        str | None, typer.Option(help="Whose message; needed if several tenants use that id.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many facts.")] = PAGE_EVENTS,
    form: Annotated[RowFormat, typer.Option("--format", help="table or json.")] = RowFormat.TABLE,
) -> None:
    """Say why a message has its status: timeline, the rule that decided, the facts that lost."""
    settings = load()
    channel: Channel = "email" if "@" in recipient else "sms"
    region = settings.numbers.by_tenant.of(tenant or "")
    client, database = client_of(settings), settings.clickhouse.database
    recipient = normalise_address(channel, recipient, region)
    tenants = (
        [tenant]
        if tenant
        else tenants_with(client, database, message_id=message_id, recipient=recipient)
    )
    if len(tenants) > 1:
        raise QueryError(f"several tenants have it; say --tenant, one of: {', '.join(tenants)}")
    explanation = tenants and explanation_of_message(
        client, database, channel=channel, tenant=tenants[0], message_id=message_id,
        recipient=recipient, limit=limit,
    )  # fmt: skip
    if not explanation:
        raise QueryError(f"no fact about message {message_id!r} to {recipient!r}")
    if explanation.pop("next"):
        Console(stderr=True).print(f"[dim]the first {limit:,} facts; more with --limit[/dim]")
    if form is RowFormat.JSON:
        print(json.dumps(explanation, default=to_json_value, ensure_ascii=False))
        return
    _print_explanation(explanation)


def _print_explanation(explanation: dict[str, Any]) -> None:
    console = Console()
    head = Text.assemble(
        (explanation["status"], STATUS_STYLES.get(explanation["status"], "bold")),
        " — ",
        explanation["status_reason"],
    )
    console.print(head)
    if cause := explanation["cause"]:
        console.print(f"{cause['words']}. {explanation['advice']}", markup=False)
    console.print(f"Rule {explanation['rule_place']} decided: {explanation['rule']}.", markup=False)
    for other in explanation["overruled"]:
        console.print(f"  overruled: {other['status']} ({other['rule']})", markup=False)
    for edge in explanation["edges"]:
        claimant = edge["provider"] or "the provider"
        claim = "is" if edge["stands"] else "is claimed, too late, for"
        console.print(
            f"Id {edge['provider_message_id']} of {claimant} {claim} attempt {edge['attempt']} of "
            f"{edge['message_id']} (since {edge['occurred_at']:%Y-%m-%d %H:%M:%S})", markup=False,
        )  # fmt: skip
    console.print()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("when", "kind", "details", "role"):
        table.add_column(name, no_wrap=name in ("when", "kind"), overflow="fold")
    for event in explanation["facts"]:
        role = f"lost: alone {event['alone']}" if event["role"] == "lost" else event["role"]
        table.add_row(
            f"{event['occurred_at']:%Y-%m-%d %H:%M:%S}", event["kind"],
            Text(" ".join(_details(event))), Text(role, style="dim" if "lost" in role else "bold"),
        )  # fmt: skip
    console.print(table)


def _details(event: dict[str, Any]) -> Iterator[str]:
    if event.get("attempt", 1) > 1:
        yield f"attempt {event['attempt']}"
    for name in ("provider", "bounce_class", "smtp_code", "enhanced_status", "reason_code",
                 "diagnostic", "url"):  # fmt: skip
        if name in event:
            yield str(event[name])
    if event.get("machine"):
        yield "by a machine"
    place = (event.get(f"source_{name}", 0) for name in ("topic", "partition", "offset"))
    yield f"({'/'.join(map(str, place))})"
