"""`sendlog export-person`: all that is kept of a person, for whoever asks what that is."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from processor.cli.rows import to_json_value
from processor.cli.suppression_options import ChannelName, actor_of, channel_of
from processor.clickhouse import client_of, target_of
from processor.kafka.topics import days_kept
from processor.settings import Settings, load
from projections.clickhouse.person import PersonRows
from projections.queries.audit import AuditLine, store_audit_lines
from schemas.addresses import Address, parse_address

_status = Console(stderr=True)


def export_person(
    address: Annotated[str, typer.Argument(help="Their email address or phone number.")],
    tenant: Annotated[str, typer.Option(help="Whose record of them.")],
    channel: Annotated[ChannelName, typer.Option(help="Of the address.")],
    file: Annotated[Path | None, typer.Option(help="Write here, rather than print.")] = None,
    actor: Annotated[str, typer.Option(help="Who does it; else the user of this system.")] = "",
) -> None:
    """Print all that is kept of a person, as JSON: a line for each row of each table.

    Nothing of anybody else is in it: of a raw record that tells of others, too, only its place.
    """
    settings = load()
    kind = channel_of(channel) or "email"
    region = settings.numbers.by_tenant.of(tenant)
    person = Address(tenant, kind, parse_address(kind, address, region))
    _audit(settings, person, actor_of(actor))
    counts: Counter[str] = Counter()
    output = sys.stdout if file is None else file.open("x", encoding="utf-8")
    try:
        for table, row in PersonRows(target_of(settings), person).own_rows(client_of(settings)):
            counts[table] += 1
            line = json.dumps({"table": table, **row}, ensure_ascii=False, default=to_json_value)
            print(line, file=output)
    finally:
        if file is not None:
            output.close()
    for table, rows in counts.items():
        _status.print(f"{table}: {rows:,} rows", highlight=False)
    kept = max((days for days in days_kept(settings.kafka).values() if days), default=0)
    _status.print(
        f"not in it: what Kafka has of the last {kept:,} days, as it came", highlight=False
    )


def _audit(settings: Settings, person: Address, actor: str) -> None:
    """Store first that it is done: what cannot be audited is not done then."""
    line = AuditLine(
        tenant_id=person.tenant_id, actor=actor, via="cli", action="export_person",
        object_type="address", object=person.address,
    )  # fmt: skip
    store_audit_lines(client_of(settings), settings.clickhouse.database, [line])
