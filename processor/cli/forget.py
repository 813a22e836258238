"""`sendlog forget`: a person removed from everything that Sendlog keeps."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from processor.cli.options import OptionError, ReportFormat
from processor.cli.suppression_options import ChannelName, actor_of, channel_of
from processor.clickhouse import client_of
from processor.kafka.topics import days_kept
from processor.privacy.forget import Forgetter, Receipt
from processor.settings import Settings, load
from projections.clickhouse.person import addresses_of_record
from projections.queries.audit import AuditLine, store_audit_lines
from projections.queries.listing import QueryError
from schemas.addresses import Address, parse_address, shown_address
from schemas.events import Channel

_status = Console(stderr=True)


def forget_person(
    tenant: Annotated[str, typer.Option(help="Whose record of them.")],
    address: Annotated[
        str | None, typer.Argument(help="Their email address or phone number.")
    ] = None,
    channel: Annotated[
        ChannelName | None, typer.Option(help="Of the address; both need a run each.")
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(help="TYPE/ID of a customer record: every address of its messages."),
    ] = None,
    again: Annotated[
        Path | None,
        typer.Option(
            help="A file of receipts as JSON: who was forgotten since a backup, if it was restored."
        ),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Count what would be changed; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is done.")] = False,
    actor: Annotated[str, typer.Option(help="Who does it; else the user of this system.")] = "",
    form: Annotated[
        ReportFormat, typer.Option("--format", help="table, or json: a line per address.")
    ] = ReportFormat.TABLE,
) -> None:
    """Forget a person: their address, and every text about them, in every table and in the policy.

    What was sent to them still counts in the figures, under a pseudonym that nobody undoes. If
    they were blacklisted they still are: a later send to them is refused. It cannot be undone. A
    run that was interrupted is completed by another one; to forget twice does no harm.
    """
    settings = load()
    forgetter = Forgetter(settings)
    if again is not None:
        addresses = forgetter.addresses_of(tenant, _pseudonyms_in(again))
    else:
        addresses = _addresses(settings, tenant, address, channel_of(channel), record)
    if preview or not yes:
        for each in addresses:
            with _status.status("counting"):
                counts = {row.table: row.rows for row in forgetter.preview(each)}
            _print_counts(each, counts, form)
    if preview:
        return
    if not yes:
        _confirm()
    for each in addresses:
        with _status.status("forgetting") as spinner:
            receipt = forgetter.forget(each, actor_of(actor), spinner.update)
        _audit(settings, receipt)
        _print_receipt(receipt, form)
    _print_kafka(settings)


def _addresses(
    settings: Settings,
    tenant: str,
    address: str | None,
    channel: Channel | None,
    record: str | None,
) -> Sequence[Address]:
    """Return whom to forget. Raises `OptionError`, `AddressError` and `QueryError`."""
    if (address is None) == (record is None):
        raise OptionError("name an address, a --record, or receipts: --again FILE")
    if address is not None:
        if channel is None:
            raise OptionError("an address needs --channel email or sms")
        region = settings.numbers.by_tenant.of(tenant)
        return [Address(tenant, channel, parse_address(channel, address, region))]
    record_type, _, record_id = (record or "").partition("/")
    if not record_id:
        raise OptionError("--record takes TYPE/ID, as family/812")
    addresses = addresses_of_record(
        client_of(settings), settings.clickhouse.database, tenant, record_type, record_id
    )
    if not addresses:
        raise QueryError(f"{tenant} has no message about the record {record}")
    return addresses


def _pseudonyms_in(receipts: Path) -> set[str]:
    """Return the pseudonyms in a file of receipts. Raises `OptionError`."""
    try:
        lines = receipts.read_text("utf-8").splitlines()
        return {str(json.loads(line)["pseudonym"]) for line in lines if line.strip()}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OptionError(f"--again {receipts} is no file of receipts as JSON: {error}") from None


def _confirm() -> None:
    """Ask a person whether to go on. Raises `OptionError` where nobody can be asked."""
    if not sys.stdin.isatty():
        raise OptionError("it cannot be undone: look at --preview, then say --yes")
    typer.confirm("Forget this? It cannot be undone", abort=True, err=True)


def _print_counts(address: Address, counts: dict[str, int], form: ReportFormat) -> None:
    if form is ReportFormat.JSON:
        print(json.dumps({**address._asdict(), "rows": counts}, ensure_ascii=False))
        return
    print(f"{shown_address(address.address)} ({address.channel}, tenant {address.tenant_id})")
    _print_rows(counts)


def _print_receipt(receipt: Receipt, form: ReportFormat) -> None:
    if form is ReportFormat.JSON:
        print(json.dumps(receipt.row() | {"counts": receipt.counts}, default=str))
        return
    print(f"forgotten: {receipt.pseudonym} ({receipt.channel}, tenant {receipt.tenant_id})")
    print(f"  from {receipt.began_at:%Y-%m-%d %H:%M:%S} to {receipt.ended_at:%H:%M:%S} UTC")
    print(f"  by {receipt.actor}")
    _print_rows(receipt.counts)


def _print_rows(counts: dict[str, int]) -> None:
    for table, rows in counts.items():
        if rows:
            print(f"  {table}: {rows:,} rows")
    if not any(counts.values()):
        print("  nothing is there")


def _print_kafka(settings: Settings) -> None:
    """Say what Kafka still has: records go when they are old enough, and not before."""
    by_days: Counter[int | None] = Counter(days_kept(settings.kafka).values())
    for days, topics in sorted(by_days.items(), key=lambda each: each[0] or 0):
        kept = "without a limit" if days is None else f"for {days:,} days"
        _status.print(
            f"Kafka keeps what was published until now {kept} in {topics:,} topics", highlight=False
        )


def _audit(settings: Settings, receipt: Receipt) -> None:
    line = AuditLine(
        tenant_id=receipt.tenant_id, actor=receipt.actor, via="cli", action="forget",
        object_type="address", object=receipt.pseudonym,
        detail=f"{sum(receipt.counts.values()):,} rows", occurred_at=datetime.now(UTC),
    )  # fmt: skip
    store_audit_lines(client_of(settings), settings.clickhouse.database, [line])
