"""Bringing a database up to the declarations: what is missing is added, nothing is taken away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from projections.clickhouse.client import scalar
from projections.clickhouse.ddl import (
    DATE_INDEX,
    STATE_DATE,
    UNFILLED,
    Target,
    computed_columns,
    table_statements,
    view_statements,
)
from projections.clickhouse.mutations import UNWAITED, unfinished_mutations, wait_for_mutations
from projections.clickhouse.store import insert_settings
from projections.expressions import quote
from projections.tables import Fill, Projection, Table, projections, tables
from projections.tables.events import TABLE as EVENTS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: The comment of a column that rows of the past do not have yet as it is declared: a run that is
#: interrupted leaves it to the next.
_PENDING: Final = "to be written in rows of the past"


@dataclass(frozen=True, slots=True)
class _Computed:
    """A column that the engine makes, as the nodes have it: alike on all once it is migrated."""

    expressions: list[str]
    pending: bool


def migrate(client: Client, target: Target) -> Iterator[str]:
    """Create and complete every table and view; yield a line for each thing that was changed.

    While it waits for the engine to rewrite rows of the past it yields lines that say so. It may be
    broken off at any time: the next run goes on. `client` must not need the database to exist. A
    log that got new columns holds them only for facts that come from now on, until it is rebuilt:
    its line says so. Raises ClickHouse's errors.
    """
    before = _objects(client, target)
    for statement in table_statements(target):
        client.command(statement)
    for table in tables().values():
        declared = {name: f"{name} {kind}" for name, kind in table.columns.items()}
        new = _add_missing(client, target, table.name, declared)
        yield from [f"added column {column} to {table.name}" for column in new]
    for log in projections().values():
        declared = {fold.name: fold.ddl for fold in log.folds}
        if new := _add_missing(client, target, log.state_table, declared):
            columns = ", ".join(new)
            yield f"added {columns} to {log.name}: sendlog rebuild {log.name} fills history"
        yield from _computed(client, target, log)
    for statement in view_statements(target):
        client.command(statement)
    yield from _first_attempts(client, target)
    for table in tables().values():
        if table.fill:
            yield from _fill(client, target, table, table.fill)
    for name in sorted(_objects(client, target) - before):
        yield f"created {target.database}.{name}"


def _first_attempts(client: Client, target: Target) -> Iterator[str]:
    """Store attempt 0 as 1, which it means.

    The two have one fingerprint: a merge of parts would keep either, and a rebuild see but that.
    """
    where = "attempt = 0"
    if count := int(
        scalar(client, f"SELECT count() FROM {target.database}.{EVENTS.name} WHERE {where}")
    ):
        change = f"UPDATE attempt = 1 WHERE {where}"
        if not _is_under_way(client, target, EVENTS.name, "UPDATE attempt = 1"):
            client.command(
                f"ALTER TABLE {target.stored(EVENTS.name)}{target.on_cluster} {change}",
                settings=UNWAITED,
            )
        yield from wait_for_mutations(client, target, EVENTS.name)
        yield f"attempt 0 of {count:,} facts is 1: sendlog rebuild shows it in the logs"


def _fill(client: Client, target: Target, table: Table, fill: Fill) -> Iterator[str]:
    """Fill a table from the events of before there was its view: a tenant after the other.

    Its comment says whether that is done, so that a run that is broken off is begun again; what is
    inserted twice is there once.
    """
    stored = target.stored(table.name)
    comments = client.query(
        f"SELECT DISTINCT comment FROM {target.system('tables')} "
        "WHERE database = {database:String} AND name = {table:String}",
        parameters={"database": target.database, "table": stored.partition(".")[2]},
    ).result_rows  # fmt: skip
    if UNFILLED not in {comment for (comment,) in comments}:
        return
    events = f"{target.database}.{EVENTS.name}"
    for (tenant,) in client.query(f"SELECT DISTINCT tenant_id FROM {events}").result_rows:
        client.command(
            f"INSERT INTO {target.database}.{table.name} ({', '.join(table.columns)}) "
            f"SELECT {', '.join(table.columns)} "
            f"FROM ({fill.sql(events, 'tenant_id = {tenant:String}')})",
            parameters={"tenant": tenant},
            settings=insert_settings(client),
        )
        yield f"filled {table.name} from the events of {tenant}"
    client.command(f"ALTER TABLE {stored}{target.on_cluster} MODIFY COMMENT {quote(table.comment)}")


def _computed(client: Client, target: Target, log: Projection) -> Iterator[str]:
    """Add or renew what the engine makes of a state's other columns, of the past, too."""
    made, table = computed_columns(log), log.state_table
    stored = f"{target.stored(table)}{target.on_cluster}"
    before = _made_of(client, target, table)
    new = _add_missing(client, target, table, made, comment=_PENDING)
    # The same declaration changes nothing; with the comment at once, as it may be another.
    _alter(client, stored, [
        change for name in made if name not in new
        for change in (f"MODIFY COLUMN {made[name]}", f"COMMENT COLUMN {name} {quote(_PENDING)}")
    ])  # fmt: skip
    after = _made_of(client, target, table)
    renewed = [
        name for name in made
        if name not in new and before[name].expressions != after[name].expressions
    ]  # fmt: skip
    left = [name for name in made if name in before and before[name].pending]
    pending = {name for names in (new, renewed, left) for name in names}
    written = [f"COMMENT COLUMN {name} ''" for name in made if name not in pending]
    _alter(client, stored, written)
    for name in made:
        again = name in left and name not in renewed
        command = f"MATERIALIZE COLUMN {name}"
        if name in pending and not (again and _is_under_way(client, target, table, command)):
            client.command(f"ALTER TABLE {stored} {command}", settings=UNWAITED)
    if pending:
        # Waited for: what has been written of it before may say less than is read of it.
        yield from wait_for_mutations(client, target, table)
        _alter(client, stored, [f"COMMENT COLUMN {name} ''" for name in made if name in pending])
    for name in made:
        if name in pending:
            yield f"{'added' if name in new else 'renewed'} column {name} of {table}"
    client.command(f"ALTER TABLE {stored} ADD INDEX IF NOT EXISTS {DATE_INDEX}")
    if STATE_DATE in new:  # not waited for: without it a page only takes longer
        client.command(f"ALTER TABLE {stored} MATERIALIZE INDEX by_time", settings=UNWAITED)


def _alter(client: Client, table: str, changes: list[str]) -> None:
    if changes:
        client.command(f"ALTER TABLE {table} {', '.join(changes)}")


def _is_under_way(client: Client, target: Target, table: str, command: str) -> bool:
    """Tell whether an earlier run has begun a mutation that is not done yet."""
    return any(
        command in mutation.command for mutation in unfinished_mutations(client, target, table)
    )


def _made_of(client: Client, target: Target, table: str) -> dict[str, _Computed]:
    """Return the columns that the engine makes, by name."""
    result = client.query(
        "SELECT name, arraySort(groupUniqArray(default_expression)), "
        "countIf(comment = {pending:String}) > 0 "
        f"FROM {target.system('columns')} WHERE database = {{database:String}} "
        "AND table = {table:String} AND default_kind = 'MATERIALIZED' GROUP BY name",
        parameters={
            "database": target.database, "table": target.stored(table).partition(".")[2],
            "pending": _PENDING,
        },
    )  # fmt: skip
    return {
        str(name): _Computed([str(each) for each in expressions], bool(pending))
        for name, expressions, pending in result.result_rows
    }


def _objects(client: Client, target: Target) -> set[str]:
    """Return the tables and views that every node has."""
    return _on_every_node(client, target, "tables", "database = {database:String}")


def _columns(client: Client, target: Target, table: str) -> set[str]:
    """Return the columns that a table has on every node."""
    where = "database = {database:String} AND table = {table:String}"
    name = target.stored(table).partition(".")[2]
    return _on_every_node(client, target, "columns", where, table=name)


def _on_every_node(
    client: Client, target: Target, system_table: str, where: str, **values: str
) -> set[str]:
    """Return the names that every node has in a system table."""
    nodes = scalar(client, f"SELECT count() FROM {target.system('one')}")
    result = client.query(
        f"SELECT name FROM {target.system(system_table)} WHERE {where} "
        "GROUP BY name HAVING count() = {nodes:UInt64}",
        parameters={"database": target.database, "nodes": nodes, **values},
    )
    return {str(row[0]) for row in result.result_rows}


def _add_missing(
    client: Client, target: Target, table: str, declared: dict[str, str], *, comment: str = ""
) -> list[str]:
    """Add the columns that a node lacks, with a comment if there is one; return their names."""
    there = _columns(client, target, table)
    missing = [name for name in declared if name not in there]
    for name in missing:
        add = f"ADD COLUMN IF NOT EXISTS {declared[name]}"
        comments = [f"COMMENT COLUMN {name} {quote(comment)}"] if comment else []
        # First where it is stored: a distributed table never has what its shards lack.
        _alter(client, f"{target.stored(table)}{target.on_cluster}", [add, *comments])
        if target.cluster:
            _alter(client, f"{target.database}.{table}{target.on_cluster}", [add])
    return missing
