"""What went wrong of late, over all tenants: counts for operators."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from projections.clickhouse.sql import Parameters, stream
from projections.column_types import TIME
from projections.tables.dead_letters import TABLE as DEAD_LETTERS
from projections.tables.unmatched import TABLE as UNMATCHED

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PERIOD: Final = timedelta(hours=1)


class RecentFailures(NamedTuple):
    """Dead letters, and events that fit no message, of the last hour."""

    dead_letters: int
    unmatched: int


def count_recent_failures(client: Client, database: str) -> RecentFailures:
    """Return the counts of the last hour. Raises ClickHouse's errors."""
    parameters = Parameters()
    since = parameters.bind(datetime.now(UTC) - PERIOD, TIME)
    [row] = stream(
        client,
        f"SELECT (SELECT count() FROM {database}.{DEAD_LETTERS.name} FINAL "
        f"WHERE died_at > {since}) AS dead_letters, "
        f"(SELECT count() FROM {database}.{UNMATCHED.name} FINAL "
        f"WHERE occurred_at > {since} AND joined_id = '') AS unmatched",
        parameters.values,
    )
    return RecentFailures(row["dead_letters"], row["unmatched"])
