"""Bringing a database up to the declarations: what is missing is added, nothing is taken away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from projections.clickhouse.client import scalar
from projections.clickhouse.ddl import (
    DATE_INDEX,
    STATE_DATE,
    Target,
    computed_columns,
    table_statements,
    view_statements,
)
from projections.tables import Projection, projections, tables
from projections.tables.events import TABLE as EVENTS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def migrate(client: Client, target: Target) -> Iterator[str]:
    """Create and complete every table and view; yield a line for each thing that was changed.

    `client` must not need the database to exist. A log that got new columns holds them only for
    facts that come from now on, until it is rebuilt: its line says so. Raises ClickHouse's errors.
    """
    before = _objects(client, target)
    for statement in table_statements(target):
        client.command(statement)
    added = []
    for table in tables().values():
        declared = {name: f"{name} {kind}" for name, kind in table.columns.items()}
        new = _add_missing(client, target, table.name, declared)
        added += [f"added column {column} to {table.name}" for column in new]
    for log in projections().values():
        declared = {fold.name: fold.ddl for fold in log.folds}
        if new := _add_missing(client, target, log.state_table, declared):
            columns = ", ".join(new)
            added.append(f"added {columns} to {log.name}: sendlog rebuild {log.name} fills history")
        added += _computed(client, target, log)
    for statement in view_statements(target):
        client.command(statement)
    added += _first_attempts(client, target)
    for name in sorted(_objects(client, target) - before):
        yield f"created {target.database}.{name}"
    yield from added


def _first_attempts(client: Client, target: Target) -> Iterator[str]:
    """Store attempt 0 as 1, which it means.

    The two have one fingerprint: a merge of parts would keep either, and a rebuild see but that.
    """
    where = "attempt = 0"
    if count := int(
        scalar(client, f"SELECT count() FROM {target.database}.{EVENTS.name} WHERE {where}")
    ):
        client.command(
            f"ALTER TABLE {target.stored(EVENTS.name)}{target.on_cluster} "
            f"UPDATE attempt = 1 WHERE {where}",
            settings={"mutations_sync": 2},
        )
        yield f"attempt 0 of {count:,} facts is 1: sendlog rebuild shows it in the logs"


def _computed(client: Client, target: Target, log: Projection) -> Iterator[str]:
    """Add or renew what the engine makes of a state's other columns, of the past, too."""
    made, table = computed_columns(log), log.state_table
    stored = f"{target.stored(table)}{target.on_cluster}"
    before = _made_of(client, target, table)
    _add_missing(client, target, table, made)
    for declaration in made.values():  # the same changes nothing
        client.command(f"ALTER TABLE {stored} MODIFY COLUMN {declaration}")
    after = _made_of(client, target, table)
    for name in made:
        if before.get(name) != after[name]:
            # Waited for: what has been written of it before may say less than is read of it.
            client.command(
                f"ALTER TABLE {stored} MATERIALIZE COLUMN {name}", settings={"mutations_sync": 2}
            )
            yield f"{'renewed' if name in before else 'added'} column {name} of {table}"
    client.command(f"ALTER TABLE {stored} ADD INDEX IF NOT EXISTS {DATE_INDEX}")
    if STATE_DATE not in before:  # not waited for: without it a page only takes longer
        client.command(f"ALTER TABLE {stored} MATERIALIZE INDEX by_time")


def _made_of(client: Client, target: Target, table: str) -> dict[str, str]:
    """Return the expressions of the columns that the engine makes, by name."""
    result = client.query(
        "SELECT name, default_expression FROM system.columns WHERE database = {database:String} "
        "AND table = {table:String} AND default_kind = 'MATERIALIZED'",
        parameters={
            "database": target.database, "table": target.stored(table).partition(".")[2],
        },
    )  # fmt: skip
    return {str(name): str(expression) for name, expression in result.result_rows}


def _objects(client: Client, target: Target) -> set[str]:
    rows = client.query(
        "SELECT name FROM system.tables WHERE database = {database:String}",
        parameters={"database": target.database},
    )
    return {row[0] for row in rows.result_rows}


def _columns(client: Client, target: Target, table: str) -> set[str]:
    result = client.query(
        "SELECT name FROM system.columns "
        "WHERE database = {database:String} AND table = {table:String}",
        parameters={
            "database": target.database, "table": target.stored(table).partition(".")[2],
        },
    )  # fmt: skip
    return {row[0] for row in result.result_rows}


def _add_missing(client: Client, target: Target, table: str, declared: dict[str, str]) -> list[str]:
    there = _columns(client, target, table)
    missing = [name for name in declared if name not in there]
    for name in missing:
        for each in {target.stored(table), f"{target.database}.{table}"}:
            client.command(
                f"ALTER TABLE {each}{target.on_cluster} ADD COLUMN IF NOT EXISTS {declared[name]}"
            )
    return missing
