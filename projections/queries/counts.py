"""Counts over a log: exact, and without folding more than the days asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, NamedTuple

from projections.clickhouse.ddl import CHECK, DATED, HASH
from projections.clickhouse.sql import Bound
from projections.expressions import TIME
from projections.presence import MERGED, by_bits, by_bits_alone
from projections.queries.pruned_select import narrow_select
from projections.status import steps
from projections.tables import Projection, log_of
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def daily_counts(
    client: Client, database: str, channel: Channel, tenant: str, since: datetime, until: datetime
) -> list[tuple[date, str, int]]:
    """Return (day in UTC, status, messages) of the messages dated `since` or later, before `until`.

    Raises ClickHouse's errors.
    """
    asked = _Days(database, channel, tenant, since, until)
    counts = asked.counted(client, asked.by_bits)
    if any(not status for _, status in counts):
        counts.update(asked.counted(client, asked.unsure))
    return [(day, status, n) for (day, status), n in sorted(counts.items()) if status]


def dated(
    database: str, channel: Channel, tenant: str, since: datetime, until: datetime,
    names: Sequence[str], bound: Bound,
) -> str:  # fmt: skip
    """Return the SELECT of recipient, message_id, date and columns of the messages of some days.

    They are dated `since` or later, before `until`. They are told by a hash of their key, then
    grouped by the key itself; no more is merged than the columns are read from.
    """
    return _Days(database, channel, tenant, since, until).all(names, bound)


class _Days(NamedTuple):
    """The messages of a tenant dated `since` or later, before `until`."""

    database: str
    channel: Channel
    tenant: str
    since: datetime
    until: datetime

    @property
    def log(self) -> Projection:
        """The log that they are in."""
        return log_of(self.channel)

    @property
    def _states(self) -> str:
        return f"{self.database}.{self.log.state_table}"

    @property
    def _unsure(self) -> str:
        return by_bits(self.log, self.log.unsure.sql)

    def counted(self, client: Client, rows: Callable[[Bound], str]) -> Counter[tuple[date, str]]:
        """Return how many of some messages there are of each day and status."""
        bound = Bound()
        found = client.query(
            "SELECT toDate(assumeNotNull(date)) AS day, status, count() "
            f"FROM ({rows(bound)}) GROUP BY day, status",
            parameters=bound.values,
        )
        return Counter({(day, status): int(n) for day, status, n in found.result_rows})

    def by_bits(self, bound: Bound) -> str:
        """Return the SELECT of date and status of all; the status is '' of what is unsure."""
        status = by_bits_alone(self.log, steps(self.log)["status"].sql)
        return (
            f"SELECT date, if({self._unsure}, '', {status}) AS status "
            f"FROM ({self._merged(bound)}) WHERE {self._within('date', bound)}"
        )

    def unsure(self, bound: Bound) -> str:
        """Return the SELECT of date and status of those that the bits leave unsure: few."""
        hashes = f"SELECT {HASH} FROM ({self._merged(bound)}) WHERE {self._unsure}"
        return self._folded(["status"], f"{HASH} IN ({hashes})", bound)

    def all(self, names: Sequence[str], bound: Bound) -> str:
        """Return the SELECT of recipient, message_id, date and columns of all."""
        return self._folded(names, self._all(bound), bound)

    def _folded(self, names: Sequence[str], which: str, bound: Bound) -> str:
        where = f"{self._mine(bound)} AND {which}"
        rows = narrow_select(self.log, ["date", *names], self._states, where)
        return f"SELECT * FROM ({rows}) WHERE {self._within('date', bound)}"

    def _merged(self, bound: Bound) -> str:
        """Return the SELECT of hash, date and bits: no text of the key is read to merge them."""
        return (
            f"SELECT {HASH}, min({DATED}) AS date, {MERGED} "
            f"FROM {self._states} AS part "
            f"WHERE {self._mine(bound)} AND {self._all(bound)} GROUP BY {HASH}, {CHECK}"
        )

    def _all(self, bound: Bound) -> str:
        """Return what holds of all their states: an earlier one may date a message before."""
        dated = f"{self._mine(bound)} AND {self._within(DATED, bound)}"
        return f"{HASH} IN (SELECT {HASH} FROM {self._states} WHERE {dated})"

    def _mine(self, bound: Bound) -> str:
        return f"tenant_id = {bound.bind(self.tenant, 'String')}"

    def _within(self, time: str, bound: Bound) -> str:
        start, end = bound.bind(self.since, TIME), bound.bind(self.until, TIME)
        return f"{time} >= {start} AND {time} < {end}"
