"""How long raw records are kept: the engine deletes what is older, in the background."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from projections.clickhouse.mutations import UNWAITED
from projections.tables.raw_records import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from projections.clickhouse.ddl import Target

_STORED_ON: Final = "stored_on"
#: The retention in a table's definition, as the engine writes it.
_DAYS: Final = re.compile(rf"\bTTL {_STORED_ON} \+ toIntervalDay\((\d+)\)")


def apply_retention(client: Client, target: Target, days: int) -> Iterator[str]:
    """Let raw records go so many days after they were stored, 0: never; yield what was changed.

    Safe to repeat. The tables have to be there. Raises ClickHouse's errors.
    """
    if all(each == days for each in _days_on_nodes(client, target)):
        return
    change = f"MODIFY TTL {_STORED_ON} + INTERVAL {int(days)} DAY" if days else "REMOVE TTL"
    client.command(
        f"ALTER TABLE {target.stored(TABLE.name)}{target.on_cluster} {change}", settings=UNWAITED
    )
    yield f"{TABLE.name} are kept {f'{days:,} days' if days else 'for ever'}"


def _days_on_nodes(client: Client, target: Target) -> list[int]:
    """Return the retention that each node has."""
    rows = client.query(
        f"SELECT engine_full FROM {target.system('tables')} "
        "WHERE database = {database:String} AND name = {name:String}",
        parameters={
            "database": target.database, "name": target.stored(TABLE.name).partition(".")[2],
        },
    ).result_rows  # fmt: skip
    declared = (_DAYS.search(str(definition)) for (definition,) in rows)
    return [int(match[1]) if match else 0 for match in declared]
