"""Who was blacklisted, and what was sent there since: for the worker to follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from clickhouse_connect.driver.exceptions import ClickHouseError

from projections.expressions import TIME
from projections.history import COLUMNS
from projections.queries import Bound, stream
from projections.store import classify
from projections.tables.events import TABLE as EVENTS
from projections.tables.suppression_history import TABLE as HISTORY
from schemas.decisions import OURS, Address

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class Line(NamedTuple):
    """That an address was listed: by which fact of ours, since when, and when that was recorded."""

    whose: Address
    event_id: str
    since: datetime
    recorded_at: datetime


class History:
    """The history of the blacklist in a database, connected at the first question.

    Both methods block, and raise as `store.classify` says.
    """

    def __init__(self, connect: Callable[[], Client], database: str) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._database = database

    def lines(self, since: datetime | None) -> list[Line]:
        """Return the lines that listed an address and were recorded since a time."""
        bound = Bound()
        when = "" if since is None else f" AND recorded_at >= {bound.bind(since, TIME)}"
        rows = self._rows(
            "SELECT tenant_id, channel, address, event_id, ifNull(since, occurred_at) AS start, "
            f"recorded_at FROM {self._database}.{HISTORY.name} "
            f"WHERE change IN ('added', 'extended'){when}",
            bound,
        )
        return [
            Line(
                Address(row["tenant_id"], row["channel"], row["address"]),
                row["event_id"], row["start"], row["recorded_at"],
            )
            for row in rows
        ]  # fmt: skip

    def sends(self, lines: Sequence[Line]) -> list[dict[str, Any]]:
        """Return the sends to the addresses of lines since each was listed, by `COLUMNS`."""
        bound = Bound()
        starts: dict[Address, datetime] = {}
        for line in lines:
            starts[line.whose] = min(line.since, starts.get(line.whose, line.since))
        tenants = bound.bind(sorted({whose.tenant_id for whose in starts}), "Array(String)")
        whose = bound.bind(
            [(each.tenant_id, each.channel, each.address) for each in starts],
            "Array(Tuple(String, String, String))",
        )
        rows = self._rows(
            f"SELECT {', '.join(COLUMNS)} FROM {self._database}.{EVENTS.name} "
            f"WHERE tenant_id IN {tenants} AND kind = 'sent' AND label != '{OURS}' "
            f"AND occurred_at >= {bound.bind(min(starts.values()), TIME)} "
            f"AND (tenant_id, channel, recipient) IN {whose}",
            bound,
        )
        return [
            {**row, "bounce_class": row["bounce_class"] or None} for row in rows
            if row["occurred_at"] >= starts[
                Address(row["tenant_id"], row["channel"], row["recipient"])
            ]
        ]  # fmt: skip

    def _rows(self, sql: str, bound: Bound) -> list[dict[str, Any]]:
        if self._client is None:
            self._client = self._connect()
        try:
            return list(stream(self._client, sql, bound.values))
        except (ClickHouseError, OSError) as error:
            raise classify(error) from error
