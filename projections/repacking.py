"""Tables of states from when values were kept as tuples: packed where they are, while facts arrive.

The packed columns are added with a default that packs the tuples, so at every moment they say what
is so: of states that were there, and of what an older folding view still writes. Once the views
write them, the default is written down for all, and the tuples are dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from projections.ddl import Target
from projections.expressions import kinds_of, quote
from projections.merge import Fold
from projections.packing import packed_sql
from projections.rebuild import wait_for_older_inserts
from projections.tables import Projection

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def kept_as_tuples(log: Projection, columns: set[str]) -> list[Fold]:
    """Return the folds whose tuples are still among the columns of a table of states."""
    return [fold for fold in log.folds if fold.is_packed and _tuple_of(fold) in columns]


def begin(client: Client, target: Target, log: Projection, folds: list[Fold]) -> None:
    """Add the columns of `folds`, made of their tuples. Raises ClickHouse's errors."""
    for fold in folds:
        name, kind = _tuple_of(fold), fold.kind
        items = [(f"tupleElement({name}, {n})", each) for n, each in _numbered(kind)]
        nothing = f"defaultValueOfTypeName({quote(kind)})"
        declared, codec, rest = fold.ddl.partition(" CODEC")
        made = f"{declared} DEFAULT if({name} = {nothing}, '', {packed_sql(items)}){codec}{rest}"
        _alter(client, target, log, f"ADD COLUMN IF NOT EXISTS {made}")


def finish(client: Client, target: Target, log: Projection, folds: list[Fold]) -> str:
    """Write the columns down for all states and drop the tuples; return a line that says so.

    The folding views must write the columns by now. Raises ClickHouse's errors.
    """
    if _made_of_tuples(client, target, log):  # else it was broken off after that
        wait_for_older_inserts(client)
        every = ", ".join(f"MATERIALIZE COLUMN {fold.name}" for fold in folds)
        client.command(
            f"ALTER TABLE {target.stored(log.state_table)}{target.on_cluster} {every}",
            settings={"mutations_sync": 2},
        )
        for_all = (f"MODIFY COLUMN {fold.name} REMOVE DEFAULT" for fold in folds)
        _alter(client, target, log, ", ".join(for_all))
    tuples = ", ".join(f"DROP COLUMN IF EXISTS {_tuple_of(fold)}" for fold in folds)
    _alter(client, target, log, tuples)
    return f"packed {', '.join(map(_tuple_of, folds))} of {log.state_table}"


def _made_of_tuples(client: Client, target: Target, log: Projection) -> bool:
    found = client.query(
        "SELECT count() FROM system.columns WHERE database = {database:String} "
        "AND table = {table:String} AND default_kind = 'DEFAULT'",
        parameters={
            "database": target.database,
            "table": target.stored(log.state_table).partition(".")[2],
        },
    )
    return bool(found.result_rows[0][0])


def _tuple_of(fold: Fold) -> str:
    return fold.name.removesuffix("_packed")


def _numbered(kind: str) -> list[tuple[int, str]]:
    return list(enumerate(kinds_of(kind).values(), 1))


def _alter(client: Client, target: Target, log: Projection, change: str) -> None:
    for table in {target.stored(log.state_table), f"{target.database}.{log.state_table}"}:
        client.command(f"ALTER TABLE {table}{target.on_cluster} {change}")
