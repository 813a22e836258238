"""A few columns of a log: no more of its states is merged than these are read from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from projections.ddl import ALL_CORES
from projections.expressions import BOOL, plain, split_top
from projections.merge import LARGEST, Fold
from projections.seen import MERGED, SEEN, by_bits
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
        *(_merged(f, sql) for f in log.folds if _uses(sql, f.name)),
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


def _merged(fold: Fold, sql: str) -> str:
    """Return the merged state of a fold, or of its first items if `sql` reads nothing else of it.

    The first items of the largest are the largest of the first items: numbers, not texts.
    """
    items = [int(n) for n in re.findall(rf"tupleElement\({fold.name}, (\d+)\)", sql)]
    alone = len(items) == len(re.findall(rf"\b{fold.name}\b", sql))
    all_ = len(split_top(fold.kind.removeprefix("Tuple(")[:-1]))
    if fold.operator is LARGEST and alone and max(items) < all_:
        first = [f"tupleElement(part.{fold.name}, {n + 1})" for n in range(max(items))]
        # Tuples are compared by a slower way than numbers.
        most = f"max(tuple({', '.join(first)}))" if len(first) > 1 else f"tuple(max({first[0]}))"
        return f"{most} AS {fold.name}"
    return f"{fold.operator.engine}(part.{fold.name}) AS {fold.name}"
