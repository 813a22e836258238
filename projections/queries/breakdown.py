"""Counts of statuses by provider or domain, and how long deliveries took, of some days of a log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from projections.clickhouse.sql import Bound
from projections.queries.counts import dated
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

By = Literal["provider", "domain"]
_GROUPS: Final[Mapping[By, str]] = {
    "provider": "provider",
    "domain": "if(position(recipient, '@') = 0, '', substringIndex(recipient, '@', -1))",
}
#: The groups that are told apart: domains can be as many as recipients.
MOST: Final = 1000


class Took(NamedTuple):
    """How long messages took from sent to delivered: seconds, None if there was none."""

    messages: int
    median: float | None
    p95: float | None


def counts(
    client: Client, database: str, channel: Channel, tenant: str,
    since: datetime, until: datetime, by: By,
) -> list[tuple[str, str, int]]:  # fmt: skip
    """Return (group, status, messages) of the messages dated `since` or later, before `until`.

    The largest groups come first; after `MOST` of them the rest is left out. Raises ClickHouse's
    errors.
    """
    bound = Bound()
    names = ["status", "provider"] if by == "provider" else ["status"]
    rows = dated(database, channel, tenant, since, until, names, bound)
    sql = (
        f"SELECT {_GROUPS[by]} AS apart, status, count() AS messages, "
        f"sum(count()) OVER (PARTITION BY apart) AS size FROM ({rows}) "
        f"GROUP BY apart, status ORDER BY size DESC, apart, status LIMIT {MOST * 16}"
    )
    found = client.query(sql, parameters=bound.values).result_rows
    groups = set(list(dict.fromkeys(row[0] for row in found))[:MOST])
    return [(row[0], row[1], int(row[2])) for row in found if row[0] in groups]


def delivery_time(
    client: Client, database: str, channel: Channel, tenant: str, since: datetime, until: datetime
) -> Took:
    """Return how long the messages of some days took to arrive; guessed arrivals do not count."""
    bound = Bound()
    names = ["sent_at", "delivered_at", "delivered_inferred"]
    rows = dated(database, channel, tenant, since, until, names, bound)
    sql = (
        "SELECT count(), quantilesExact(0.5, 0.95)(dateDiff('millisecond', sent, delivered)) "
        "FROM (SELECT assumeNotNull(sent_at) AS sent, assumeNotNull(delivered_at) AS delivered "
        f"FROM ({rows}) WHERE sent_at IS NOT NULL AND delivered_at >= sent_at "
        "AND NOT delivered_inferred)"
    )
    count, (median, p95) = client.query(sql, parameters=bound.values).result_rows[0]
    return Took(count, median / 1000, p95 / 1000) if count else Took(0, None, None)
