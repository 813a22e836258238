"""Counts over some days of a log: exact, and without folding more than those days.

Per day and status, by provider or domain, and how long deliveries took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from projections.clickhouse.ddl import KEY_CHECK, KEY_HASH, STATE_DATE
from projections.clickhouse.sql import Query
from projections.column_types import STRING, TIME
from projections.presence import MERGED_PRESENCE, from_presence_alone, with_presence_bits
from projections.queries.pruned_select import pruned_select
from projections.status import derived_columns
from projections.tables import Projection, log_of
from projections.witness import needs_full_fold
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

GroupBy = Literal["provider", "domain"]
_GROUPS: Final[Mapping[GroupBy, str]] = {
    "provider": "provider",
    "domain": "if(position(recipient, '@') = 0, '', substringIndex(recipient, '@', -1))",
}
#: The groups that are told apart: domains can be as many as recipients.
MAX_GROUPS: Final = 1000
_MAX_STATUSES: Final = 16


class DeliveryTime(NamedTuple):
    """How long messages took from sent to delivered: seconds, None if there was none."""

    messages: int
    median: float | None
    p95: float | None


class Period(NamedTuple):
    """The messages of a tenant in a log, dated `since` or later, before `until`."""

    channel: Channel
    tenant: str
    since: datetime
    until: datetime


def daily_counts(
    client: Client, database: str, period: Period, zone: str = "UTC"
) -> list[tuple[date, str, int]]:
    """Return (day of a time zone, status, messages) of a period. Raises ClickHouse's errors."""
    messages = _Messages(database, period, zone)
    counts = messages.counted(client, messages.by_presence)
    if any(not status for _, status in counts):
        counts.update(messages.counted(client, messages.by_full_fold))
    return [(day, status, n) for (day, status), n in sorted(counts.items()) if status]


def count_by_group(
    client: Client, database: str, period: Period, by: GroupBy
) -> list[tuple[str, str, int]]:
    """Return (group, status, messages) of a period.

    The largest groups come first; after `MAX_GROUPS` of them the rest is left out. Raises
    ClickHouse's errors.
    """
    query = Query(period.tenant)
    names = ["status", "provider"] if by == "provider" else ["status"]
    rows = _Messages(database, period).with_columns(names, query)
    sql = (
        f"SELECT {_GROUPS[by]} AS apart, status, count() AS messages, "
        f"sum(count()) OVER (PARTITION BY apart) AS size FROM ({rows}) "
        "GROUP BY apart, status ORDER BY size DESC, apart, status "
        f"LIMIT {MAX_GROUPS * _MAX_STATUSES}"
    )
    counts = client.query(sql, parameters=query.values).result_rows
    groups = set(list(dict.fromkeys(row[0] for row in counts))[:MAX_GROUPS])
    return [(row[0], row[1], int(row[2])) for row in counts if row[0] in groups]


def delivery_time(client: Client, database: str, period: Period) -> DeliveryTime:
    """Return how long the messages of a period took to arrive; guessed arrivals do not count."""
    query = Query(period.tenant)
    names = ["sent_at", "delivered_at", "delivered_inferred"]
    rows = _Messages(database, period).with_columns(names, query)
    sql = (
        "SELECT count(), quantilesExact(0.5, 0.95)(dateDiff('millisecond', sent, delivered)) "
        "FROM (SELECT assumeNotNull(sent_at) AS sent, assumeNotNull(delivered_at) AS delivered "
        f"FROM ({rows}) WHERE sent_at IS NOT NULL AND delivered_at >= sent_at "
        "AND NOT delivered_inferred)"
    )
    count, (median, p95) = client.query(sql, parameters=query.values).result_rows[0]
    if not count:
        return DeliveryTime(0, None, None)
    return DeliveryTime(count, median / 1000, p95 / 1000)


class _Messages(NamedTuple):
    """SELECTs of the messages of a period, by their partial states; days are of a time zone."""

    database: str
    period: Period
    zone: str = "UTC"

    @property
    def log(self) -> Projection:
        """The log that they are in."""
        return log_of(self.period.channel)

    @property
    def _states(self) -> str:
        return f"{self.database}.{self.log.state_table}"

    @property
    def _needs_full_fold(self) -> str:
        return with_presence_bits(self.log, needs_full_fold(self.log)).sql

    @property
    def _is_row(self) -> str:
        return f"NOT {with_presence_bits(self.log, self.log.hidden).sql}"

    def counted(self, client: Client, select: Callable[[Query], str]) -> Counter[tuple[date, str]]:
        """Return how many messages of a SELECT there are of each day and status."""
        query = Query(self.period.tenant)
        zone = query.bind(self.zone, STRING)
        rows = client.query(
            f"SELECT toDate(assumeNotNull(date), {zone}) AS day, status, count() "
            f"FROM ({select(query)}) GROUP BY day, status",
            parameters=query.values,
        ).result_rows
        return Counter({(day, status): int(n) for day, status, n in rows})

    def by_presence(self, query: Query) -> str:
        """Return the SELECT of date and status of all; '' for those that need a full fold."""
        status = from_presence_alone(self.log, derived_columns(self.log)["status"]).sql
        return (
            f"SELECT date, if({self._needs_full_fold}, '', {status}) AS status "
            f"FROM ({self._merged(query)}) WHERE {self._is_row} AND {self._within('date', query)}"
        )

    def by_full_fold(self, query: Query) -> str:
        """Return the SELECT of date and status of those that need a full fold: few."""
        hashes = f"SELECT {KEY_HASH} FROM ({self._merged(query)}) WHERE {self._needs_full_fold}"
        return self._folded(["status"], f"{KEY_HASH} IN ({hashes})", query)

    def with_columns(self, names: Sequence[str], query: Query) -> str:
        """Return the SELECT of recipient, message_id, date and columns of all."""
        return self._folded(names, self._candidates(query), query)

    def _folded(self, names: Sequence[str], which: str, query: Query) -> str:
        where = f"{query.of_tenant} AND {which}"
        rows = pruned_select(self.log, ["date", *names], self._states, where)
        return f"SELECT * FROM ({rows}) WHERE {self._is_row} AND {self._within('date', query)}"

    def _merged(self, query: Query) -> str:
        """Return the SELECT of hash, date and bits: no text of the key is read to merge them."""
        return (
            f"SELECT {KEY_HASH}, min({STATE_DATE}) AS date, {MERGED_PRESENCE} "
            f"FROM {self._states} AS part "
            f"WHERE {query.of_tenant} AND {self._candidates(query)} "
            f"GROUP BY {KEY_HASH}, {KEY_CHECK}"
        )

    def _candidates(self, query: Query) -> str:
        """Return what holds of all their states: an earlier one may date a message before."""
        dated = f"{query.of_tenant} AND {self._within(STATE_DATE, query)}"
        return f"{KEY_HASH} IN (SELECT {KEY_HASH} FROM {self._states} WHERE {dated})"

    def _within(self, time: str, query: Query) -> str:
        start, end = query.bind(self.period.since, TIME), query.bind(self.period.until, TIME)
        return f"{time} >= {start} AND {time} < {end}"
