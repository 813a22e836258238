"""Counts over a log: exact, and without folding more than the days asked for."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING

from projections.ddl import HASH
from projections.expressions import TIME
from projections.merge import LARGEST, Fold
from projections.queries import Bound, log_of
from projections.status import steps
from projections.tables import KEY
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def daily_counts(
    client: Client, database: str, channel: Channel, tenant: str, since: datetime, until: datetime
) -> list[tuple[date, str, int]]:
    """Return (day in UTC, status, messages) of the messages dated `since` or later, before `until`.

    Messages of these days are told by a hash of their key, then grouped by the key itself. Only
    what a status is read from is merged. Raises ClickHouse's errors.
    """
    log = log_of(channel)
    bound = Bound()
    mine = f"tenant_id = {bound.bind(tenant, 'String')}"
    start, end = bound.bind(since, TIME), bound.bind(until, TIME)
    states = f"{database}.{log.state_table}"
    status = steps(log)["status"].sql
    needed = [_merged(fold, status) for fold in log.folds if _uses(status, fold)]
    merged = ", ".join(["min(part.first_at) AS first_at", *needed])
    sql = (
        f"SELECT toDate(assumeNotNull(first_at)) AS day, {status} AS status, count() FROM ("
        f"SELECT {merged} FROM {states} AS part WHERE {mine} AND {HASH} IN ("
        f"SELECT {HASH} FROM {states} WHERE {mine} AND first_at >= {start} AND first_at < {end}"
        f") GROUP BY {', '.join(KEY)}) "
        f"WHERE first_at >= {start} AND first_at < {end} GROUP BY day, status ORDER BY day, status"
    )
    found = client.query(sql, parameters=bound.values)
    return [(row[0], row[1], int(row[2])) for row in found.result_rows]


def _uses(sql: str, fold: Fold) -> bool:
    return re.search(rf"\b{fold.name}\b", sql) is not None


def _merged(fold: Fold, sql: str) -> str:
    """Return the merged state of a fold, or of its first item if nothing else is read in `sql`.

    The first item of the largest is the largest of the first items: a number, not a tuple of texts.
    """
    items = set(re.findall(rf"tupleElement\({fold.name}, (\d+)\)", sql))
    alone = len(re.findall(rf"\b{fold.name}\b", sql)) == sql.count(f"tupleElement({fold.name}, 1)")
    if fold.operator is LARGEST and items == {"1"} and alone:
        return f"tuple(max(tupleElement(part.{fold.name}, 1))) AS {fold.name}"
    return f"{fold.operator.engine}(part.{fold.name}) AS {fold.name}"
