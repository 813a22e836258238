"""A few columns of a log: only the folds that they are read from are merged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from projections.clickhouse.ddl import ALL_CORES, named_column
from projections.expressions import Expression
from projections.presence import MERGED_PRESENCE, PRESENCE, with_presence_bits
from projections.status import derived_columns
from projections.tables import Projection


def pruned_select(
    log: Projection, names: Iterable[str], source: str, where: str, *, prewhere: str = ""
) -> str:
    """Return the SELECT of recipient, message_id, bits and columns of the messages of one tenant.

    `source` are partial states; `where` names the tenant and is tested on each of them, after
    `prewhere`. To plan a whole row of a log, with its reasons, takes the engine many times as long
    as the status alone.
    """
    columns = {name: with_presence_bits(log, log.columns[name]) for name in names}
    derived = dict(reversed(list(_derived(log, columns.values()))))
    read = {name for each in (*columns.values(), *derived.values()) for name in each.columns}
    merged = ["recipient", "message_id", *(f.merged for f in log.folds if f.name in read)]
    if "tenant_id" in read:
        merged.append("any(part.tenant_id) AS tenant_id")
    merged.append(MERGED_PRESENCE)
    before = f"PREWHERE {prewhere} " if prewhere else ""
    cores = f", {ALL_CORES}" if prewhere else ""
    # By the tenant, too, it would be slower: texts of a dictionary have a key of their own kind.
    inner = (
        f"SELECT {', '.join(merged)} FROM {source} AS part {before}WHERE {where} "
        f"GROUP BY message_id, recipient SETTINGS prefer_column_name_to_alias = 1{cores}"
    )
    for name, expression in derived.items():
        inner = f"SELECT *, {expression.sql} AS {name} FROM ({inner})"
    outer = ["recipient", "message_id", PRESENCE] + [
        named_column(name, column) for name, column in columns.items()
        if name not in {"recipient", "message_id"}
    ]  # fmt: skip
    return f"SELECT {', '.join(outer)} FROM ({inner})"


def _derived(log: Projection, columns: Iterable[Expression]) -> Iterator[tuple[str, Expression]]:
    """Yield the derived columns that columns are read from, each before those it is read from."""
    read = {name for column in columns for name in column.columns}
    for name, expression in reversed(list(derived_columns(log).items())):
        if name in read:
            by_bits = with_presence_bits(log, expression)
            yield name, by_bits
            read |= by_bits.columns
