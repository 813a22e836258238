"""Addresses from before brought to their normal form: in events, in logs, in the blacklist.

Rows are written again with the normal form, which folds them anew; then what they replace is
deleted, the events last. A run that is interrupted is completed by the next: it finds the events
that are left, and writing a row twice changes nothing. Workers may go on meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from projections.clickhouse.ddl import RECORD_INDEX_TABLE, Target
from projections.clickhouse.mutations import UNWAITED, wait_for_mutations
from projections.clickhouse.sql import Query, stream
from projections.clickhouse.store import insert_settings
from projections.column_types import STRING
from projections.tables import Table, log_of
from projections.tables.events import TABLE as EVENTS
from projections.tables.suppression_history import TABLE as HISTORY
from schemas.addresses import Address, NumberRegions, normalise_address, plain_pattern
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Addresses that are replaced by one statement.
MAX_BATCH_ADDRESSES: Final = 1_000
#: The tables that are written again, and their column of addresses.
_WRITTEN: Final[tuple[tuple[Table, str], ...]] = ((HISTORY, "address"), (EVENTS, "recipient"))

#: Normal forms of addresses of a tenant's channel, by how they are stored.
_Forms = dict[str, str]


def readdress(
    client: Client,
    target: Target,
    regions: NumberRegions,
    on_written: Callable[[str, Sequence[Address]], None],
) -> Iterator[Address]:
    """Replace stored addresses that are not in their normal form; yield each, as it was.

    `on_written` is called with a tenant and normal forms when their events are stored, before those
    they replace are deleted: what it raises leaves them for the next run. Raises ClickHouse's
    errors.
    """
    replaced: set[Address] = set()
    for table, column in _WRITTEN:
        for (tenant, channel), forms in _other_forms(client, target, table, column, regions):
            old = sorted(forms)
            for start in range(0, len(old), MAX_BATCH_ADDRESSES):
                batch = {text: forms[text] for text in old[start : start + MAX_BATCH_ADDRESSES]}
                change = _Change(table, column, tenant, channel, batch)
                _write(client, target, change)
                if table is EVENTS:
                    on_written(tenant, [Address(tenant, channel, new) for new in batch.values()])
                _delete(client, target, change)
            new = {Address(tenant, channel, text) for text in old} - replaced
            replaced |= new
            yield from sorted(new)


def _other_forms(
    client: Client, target: Target, table: Table, column: str, regions: NumberRegions
) -> Iterator[tuple[tuple[str, Channel], _Forms]]:
    """Yield the addresses that have another normal form, by tenant and channel."""
    sql = (
        f"SELECT DISTINCT tenant_id, channel, {column} AS address "
        f"FROM {target.database}.{table.name} WHERE {column} != '' AND NOT match({column}, "
        "if(channel = 'email', {email:String}, {sms:String}))"
    )
    plain = {"email": plain_pattern("email"), "sms": plain_pattern("sms")}
    forms: defaultdict[tuple[str, Channel], _Forms] = defaultdict(dict)
    for row in stream(client, sql, plain):
        tenant, channel = row["tenant_id"], cast("Channel", row["channel"])
        address = normalise_address(channel, row["address"], regions.of(tenant))
        if address != row["address"]:
            forms[tenant, channel][row["address"]] = address
    yield from forms.items()


@dataclass(frozen=True, slots=True)
class _Change:
    """Addresses of a table that are replaced together."""

    table: Table
    column: str
    tenant: str
    channel: Channel
    forms: _Forms

    def query(self) -> tuple[Query, str, str]:
        """Return a query of the tenant, with the old and the new addresses bound."""
        query = Query(self.tenant)
        query.add(f"channel = {query.bind(self.channel, STRING)}")
        texts = f"Array({STRING})"
        old, new = list(self.forms), list(self.forms.values())
        return query, query.bind(old, texts), query.bind(new, texts)


def _write(client: Client, target: Target, change: _Change) -> None:
    """Write the rows of some addresses again, by their new ones."""
    query, old, new = change.query()
    column, names = change.column, list(change.table.columns)
    values = [
        f"transform(old.{column}, {old}, {new}, '')" if name == column else f"old.{name}"
        for name in names
    ]
    table = f"{target.database}.{change.table.name}"
    client.command(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
        f"FROM {table} AS old WHERE {query.where} AND old.{column} IN {old}",
        parameters=query.values,
        settings=insert_settings(client),
    )


def _delete(client: Client, target: Target, change: _Change) -> None:
    """Delete the rows of some addresses that are written by their new ones.

    A row that a worker of before adds meanwhile is left to the next run; so is its part of a log.
    """
    query, old, new = change.query()
    key = [name for name in change.table.order_by if name != change.column]
    is_written = (
        f"({', '.join(key)}) IN (SELECT {', '.join(key)} "
        f"FROM {target.database}.{change.table.name} "
        f"WHERE {query.where} AND {change.column} IN {new})"
    )
    of_old = f"{query.of_tenant} AND {change.column} IN {old}"
    deletions = [
        (change.table.name, f"{query.where} AND {change.column} IN {old} AND {is_written}")
    ]
    if change.table is EVENTS:
        deletions = [
            (log_of(change.channel).state_table, of_old), (RECORD_INDEX_TABLE, of_old), *deletions
        ]  # fmt: skip
    for name, where in deletions:
        client.command(
            f"DELETE FROM {target.stored(name)}{target.on_cluster} WHERE {where}",
            parameters=query.values,
            settings=UNWAITED | {"allow_nondeterministic_mutations": 1},
        )
        for _ in wait_for_mutations(client, target, name):
            pass
