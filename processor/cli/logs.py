"""`sendlog log` and `sendlog explain`: reading the logs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from processor.clickhouse import client_of
from processor.settings import load
from projections.queries.explanation import tell
from projections.queries.listing import SORTS, Filter, Listing, QueryError
from projections.queries.page import listing as listed
from projections.queries.timeline import timeline
from projections.tables import log_of
from schemas.events import Channel, milliseconds


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class LogName(StrEnum):
    """The logs by their channel."""

    EMAIL = "email"
    SMS = "sms"


_STYLES = {
    "Bounce": "red", "Invalid": "red", "Rejected": "red", "Undelivered": "red", "Failed": "red",
    "Skipped": "yellow", "Sent": "blue", "Queued": "blue",
    "Delivery": "green", "Delivered": "green",
    "Open": "bold green", "Click": "bold green", "Received": "bold green",
}  # fmt: skip
_COLUMNS = {
    "email": ("date", "recipient", "subject", "status", "status_reason", "message_id"),
    "sms": ("date", "recipient", "text", "status", "status_reason", "message_id"),
}
#: Characters that a line needs to have room for a message's id.
_WIDE = 130
#: Columns that share what is left of a line, and how wide a column that need not be whole may be.
_TEXTS = ("subject", "text", "status_reason", "reason")
_WIDTHS = {"recipient": 28}
_SHORTCUTS = (
    "status",
    "recipient",
    "record_id",
    "record_type",
    "message_id",
    "campaign",
    "provider",
)


def log(
    channel: Annotated[LogName, typer.Argument(help="Which log.")],
    tenant: Annotated[str, typer.Option(help="Whose log.")],
    status: Annotated[str | None, typer.Option(help="As Bounce, Open, Delivered, …")] = None,
    recipient: Annotated[str | None, typer.Option(help="Address or number.")] = None,
    record_id: Annotated[str | None, typer.Option(help="The family or staff record.")] = None,
    record_type: Annotated[str | None, typer.Option(help="family, staff, …")] = None,
    message_id: Annotated[str | None, typer.Option()] = None,
    campaign: Annotated[str | None, typer.Option()] = None,
    provider: Annotated[str | None, typer.Option()] = None,
    contains: Annotated[
        str | None, typer.Option(help="Part of the subject, or of the SMS text.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Date from this time on, UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="Date before this time, UTC.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="A condition on any column: NAME=VALUE, or != < <= > >=, or ~ for 'contains'; "
            "can be repeated. As: --where 'open_count>=2' --where 'diagnostic~spam'."
        ),
    ] = None,
    sort: Annotated[str, typer.Option(help=f"One of: {', '.join(SORTS)}.")] = "date",
    ascending: Annotated[bool, typer.Option("--ascending", help="Smallest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 50,
    as_of: Annotated[str | None, typer.Option(help="The log as it was at this time, UTC.")] = None,
    clock: Annotated[
        str, typer.Option(help="--as-of by what had 'occurred', or had been 'recorded'.")
    ] = "occurred",
    form: Annotated[
        Format, typer.Option("--format", help="For people or programs.")
    ] = Format.TABLE,
) -> None:
    """Print the Email Log or the SMS Log of a tenant, the newest first.

    The table shows what fits; json (a line per row) and csv have every column.
    """
    kind: Channel = "email" if channel is LogName.EMAIL else "sms"
    given = locals()
    filters = [Filter(name, "=", given[name]) for name in _SHORTCUTS if given[name] is not None]
    if recipient is not None:
        filters = [f for f in filters if f.column != "recipient"]
        filters.append(Filter("recipient", "=", recipient.strip().lower()))
    if contains is not None:
        filters.append(Filter("subject" if kind == "email" else "text", "~", contains))
    filters += [Filter("date", op, at) for op, at in ((">=", since), ("<", until)) if at]
    filters += [Filter.parse(text) for text in where or []]
    if clock not in ("occurred", "recorded"):
        raise QueryError(f"--clock is occurred or recorded, not {clock!r}")
    settings = load()
    rows = listed(
        client_of(settings),
        settings.clickhouse.database,
        Listing(
            channel=kind,
            tenant=tenant,
            filters=filters,
            sort=sort,
            descending=not ascending and sort == "date",
            limit=limit,
            as_of=_time(as_of) if as_of else None,
            clock=clock,  # type: ignore[arg-type]
        ),
    )
    print_rows(rows, form, columns=list(log_of(kind).readings), shown=_COLUMNS[kind])


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(f"{text!r} is no time; write it as 2026-11-24T10:00") from None


def print_rows(
    rows: Iterable[dict[str, Any]], form: Format, *, columns: list[str], shown: Iterable[str]
) -> None:
    """Print rows as a table of the columns `shown`, or all `columns` as json lines or csv."""
    if form is Format.JSON:
        for row in rows:
            print(json.dumps({name: plain(row[name]) for name in columns}, ensure_ascii=False))
        return
    if form is Format.CSV:
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows([_cell(row[name]) for name in columns] for row in rows)
        return
    console, found = Console(), list(rows)
    # A row is a line; an id only where there is room for all of it, for half of one is of no use.
    wanted = list(shown)
    shown = [name for name in wanted if name != "message_id" or console.width >= _WIDE]
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    cells = [[_styled(name, row[name]) for name in shown] for row in found]
    for place, name in enumerate(shown):
        longest = max((len(row[place]) for row in cells), default=0)
        table.add_column(
            name.removeprefix("status_").replace("_", " "),
            no_wrap=name != "reason",
            overflow="fold" if name == "reason" else "ellipsis",
            width=None if name in _TEXTS else max(min(longest, _WIDTHS.get(name, 36)), len(name)),
            ratio=1 if name in _TEXTS else None,
        )
    for line in cells:
        table.add_row(*line)
    console.print(table)
    hint = "" if shown == wanted else "; the ids are in --format json, or in a wider window"
    Console(stderr=True).print(f"[dim]{len(found)} rows{hint}[/dim]")


def plain(value: Any) -> Any:
    """Return a value as JSON has it: times in ISO 8601 with Z."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}.{milliseconds(value) % 1000:03}Z"
    return value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(plain(value))


def _styled(name: str, value: Any) -> Text:
    text = f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else _cell(value)
    return Text(text, style=_STYLES.get(text, "") if name == "status" else "")


def explain(
    message_id: Annotated[str, typer.Argument(help="The message's id, as the log shows it.")],
    recipient: Annotated[str, typer.Argument(help="The address or number.")],
    tenant: Annotated[
        str | None, typer.Option(help="Whose message; needed if several tenants use that id.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.TABLE,
) -> None:
    """Say why a message has its status: timeline, the rule that decided, the facts that lost."""
    settings = load()
    facts = timeline(
        client_of(settings),
        settings.clickhouse.database,
        message_id=message_id,
        recipient=recipient.strip().lower(),
        tenant=tenant,
    )
    tenants = sorted({fact["tenant_id"] for fact in facts})
    if not facts:
        raise QueryError(f"no fact about message {message_id!r} to {recipient!r}")
    if len(tenants) > 1:
        raise QueryError(f"several tenants have it; say --tenant, one of: {', '.join(tenants)}")
    told = tell(facts)
    if form is Format.JSON:
        print(json.dumps(told, default=plain, ensure_ascii=False))
        return
    _print_explanation(told)


def _print_explanation(told: dict[str, Any]) -> None:
    console = Console()
    head = Text.assemble(
        (told["status"], _STYLES.get(told["status"], "bold")), " — ", told["status_reason"]
    )
    console.print(head)
    console.print(f"Rule {told['rule_place']} decided: {told['rule']}.", markup=False)
    for other in told["overruled"]:
        console.print(f"  overruled: {other['status']} ({other['rule']})", markup=False)
    console.print()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("when", "kind", "details", "role"):
        table.add_column(name, no_wrap=name in ("when", "kind"), overflow="fold")
    for fact in told["facts"]:
        role = f"lost: alone {fact['alone']}" if fact["role"] == "lost" else fact["role"]
        table.add_row(
            f"{fact['occurred_at']:%Y-%m-%d %H:%M:%S}", fact["kind"],
            Text(" ".join(_details(fact))), Text(role, style="dim" if "lost" in role else "bold"),
        )  # fmt: skip
    console.print(table)


def _details(fact: dict[str, Any]) -> Iterator[str]:
    if fact.get("attempt", 1) > 1:
        yield f"attempt {fact['attempt']}"
    for name in ("provider", "bounce_class", "smtp_code", "enhanced_status", "reason_code",
                 "diagnostic", "url"):  # fmt: skip
        if name in fact:
            yield str(fact[name])
    if fact.get("machine"):
        yield "by a machine"
    place = (fact.get(f"source_{name}", 0) for name in ("topic", "partition", "offset"))
    yield f"({'/'.join(map(str, place))})"
