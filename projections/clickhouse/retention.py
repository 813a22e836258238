"""How long some tables keep their rows: the engine deletes what is older, in the background."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from projections.clickhouse.mutations import UNWAITED

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from projections.clickhouse.ddl import Target
    from projections.tables import Table

#: The column that retention counts from.
_STORED_ON: Final = "stored_on"
#: The retention in a table's definition, as the engine writes it.
_DAYS: Final = re.compile(rf"\bTTL {_STORED_ON} \+ toIntervalDay\((\d+)\)")


def apply_retention(client: Client, target: Target, table: Table, days: int) -> Iterator[str]:
    """Let rows of a table go so many days after they were stored, 0: never; yield what was changed.

    Safe to repeat. The table has to be there, with a column `stored_on`. Raises ClickHouse's
    errors.
    """
    if all(each == days for each in _days_on_nodes(client, target, table)):
        return
    change = f"MODIFY TTL {_STORED_ON} + INTERVAL {int(days)} DAY" if days else "REMOVE TTL"
    client.command(
        f"ALTER TABLE {target.stored(table.name)}{target.on_cluster} {change}", settings=UNWAITED
    )
    verb = "are" if table.name.endswith("s") else "is"
    yield f"{table.name} {verb} kept {f'{days:,} days' if days else 'for ever'}"


def _days_on_nodes(client: Client, target: Target, table: Table) -> list[int]:
    """Return the retention that each node has."""
    rows = client.query(
        f"SELECT engine_full FROM {target.system('tables')} "
        "WHERE database = {database:String} AND name = {name:String}",
        parameters={
            "database": target.database, "name": target.stored(table.name).partition(".")[2],
        },
    ).result_rows  # fmt: skip
    declared = (_DAYS.search(str(definition)) for (definition,) in rows)
    return [int(match[1]) if match else 0 for match in declared]
