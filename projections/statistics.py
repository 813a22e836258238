"""Counts over a log: exact, and without folding more than the days asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from projections.ddl import HASH
from projections.expressions import TIME
from projections.narrow import narrow_select
from projections.queries import Bound, log_of
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def daily_counts(
    client: Client, database: str, channel: Channel, tenant: str, since: datetime, until: datetime
) -> list[tuple[date, str, int]]:
    """Return (day in UTC, status, messages) of the messages dated `since` or later, before `until`.

    Raises ClickHouse's errors.
    """
    bound = Bound()
    rows = dated(database, channel, tenant, since, until, ["status"], bound)
    found = client.query(
        "SELECT toDate(assumeNotNull(date)) AS day, status, count() "
        f"FROM ({rows}) GROUP BY day, status ORDER BY day, status",
        parameters=bound.values,
    )
    return [(row[0], row[1], int(row[2])) for row in found.result_rows]


def dated(
    database: str, channel: Channel, tenant: str, since: datetime, until: datetime,
    names: Sequence[str], bound: Bound,
) -> str:  # fmt: skip
    """Return the SELECT of recipient, message_id, date and columns of the messages of some days.

    They are dated `since` or later, before `until`. They are told by a hash of their key, then
    grouped by the key itself; no more is merged than the columns are read from.
    """
    log = log_of(channel)
    mine = f"tenant_id = {bound.bind(tenant, 'String')}"
    start, end = bound.bind(since, TIME), bound.bind(until, TIME)
    states = f"{database}.{log.state_table}"
    those = f"SELECT {HASH} FROM {states} WHERE {mine} AND first_at >= {start} AND first_at < {end}"
    # All states of these messages: an earlier one may date them before.
    where = f"{mine} AND {HASH} IN ({those})"
    rows = narrow_select(log, ["date", *names], states, where)
    return f"SELECT * FROM ({rows}) WHERE date >= {start} AND date < {end}"
