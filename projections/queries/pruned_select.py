"""A few columns of a log: no more of its states is merged than these are read from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from projections.clickhouse.ddl import ALL_CORES
from projections.expressions import BOOL, plain
from projections.presence import MERGED, SEEN, by_bits
from projections.status import steps
from projections.tables import Projection


def narrow_select(
    log: Projection, names: Iterable[str], source: str, where: str, *, prewhere: str = ""
) -> str:
    """Return the SELECT of recipient, message_id, bits and columns of the messages of one tenant.

    `source` are partial states; `where` names the tenant and is tested on each of them, after
    `prewhere`. To plan a whole row of a log, with its reasons, takes the engine up to 0.2 s; the
    status alone 0.01 s.
    """
    readings = {name: log.readings[name] for name in names}
    read = {name: by_bits(log, reading.sql) for name, reading in readings.items()}
    sql = " ".join(read.values())
    taken = dict(reversed(list(_steps_of(log, sql))))
    sql = " ".join([sql, *taken.values()])
    merged = [
        "recipient",
        "message_id",
        *(fold.merged for fold in log.folds if _uses(sql, fold.name)),
    ]
    if _uses(sql, "tenant_id"):
        merged.append("any(part.tenant_id) AS tenant_id")
    merged.append(MERGED)
    before = f"PREWHERE {prewhere} " if prewhere else ""
    cores = f", {ALL_CORES}" if prewhere else ""
    # By the tenant, too, it would be slower: texts of a dictionary have a key of their own kind.
    inner = (
        f"SELECT {', '.join(merged)} FROM {source} AS part {before}WHERE {where} "
        f"GROUP BY message_id, recipient SETTINGS prefer_column_name_to_alias = 1{cores}"
    )
    for name, step in taken.items():
        inner = f"SELECT *, {step} AS {name} FROM ({inner})"
    outer = ["recipient", "message_id", SEEN] + [
        f"CAST({read[name]}, '{reading.kind}') AS {name}" if plain(reading.kind) == BOOL
        else f"{read[name]} AS {name}"
        for name, reading in readings.items() if name not in {"recipient", "message_id"}
    ]  # fmt: skip
    return f"SELECT {', '.join(outer)} FROM ({inner})"


def _uses(sql: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", sql) is not None


def _steps_of(log: Projection, sql: str) -> Iterator[tuple[str, str]]:
    """Yield the steps that an expression takes, each before those that it takes itself."""
    for name, step in reversed(list(steps(log).items())):
        if _uses(sql, name):
            yield name, (made := by_bits(log, step.sql))
            sql += f" {made}"
