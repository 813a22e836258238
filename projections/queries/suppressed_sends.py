"""Who was blacklisted, and what was sent there since: for the worker to follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from projections.clickhouse.client import classified
from projections.clickhouse.sql import Bound, stream
from projections.expressions import TIME
from projections.tables import KEY, Projection, projections
from projections.tables.suppression_history import TABLE as HISTORY
from schemas.addresses import Address

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

    Both methods block, and raise as `store.classified` does.
    """

    def __init__(self, connect: Callable[[], Client], database: str) -> None:
        self._client = cache(connect)
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
        """Return the sends to the addresses of lines since each was listed, as facts.

        Of each message the log knows the time of the first, and of every attempt after it.
        """
        since: dict[Address, datetime] = {}
        for line in lines:
            since[line.whose] = min(line.since, since.get(line.whose, line.since))
        found = [send for log in projections().values() for send in self._sends(log, since)]
        return [
            send for send in found
            if send["occurred_at"] >= since[
                Address(send["tenant_id"], send["channel"], send["recipient"])
            ]
        ]  # fmt: skip

    def _sends(self, log: Projection, since: Mapping[Address, datetime]) -> list[dict[str, Any]]:
        whose = [(w.tenant_id, w.address) for w in since if w.channel == log.channel]
        if not whose:
            return []
        bound = Bound()
        resends = "[]"
        if any(fold.name == "resends" for fold in log.folds):
            resends = "groupUniqArrayArray(resends)"
        rows = self._rows(
            "SELECT tenant_id, recipient, message_id, min(sent_at) AS first, "
            f"arrayMap(sent -> (sent.1, sent.2), {resends}) AS later "
            f"FROM {self._database}.{log.state_table} WHERE (tenant_id, recipient) IN "
            f"{bound.bind(whose, 'Array(Tuple(String, String))')} "
            "GROUP BY tenant_id, recipient, message_id HAVING first IS NOT NULL",
            bound,
        )
        return [
            {
                "channel": log.channel, "kind": "sent", "attempt": attempt, "occurred_at": at,
                **{name: row[name] for name in KEY},
            }
            for row in rows for attempt, at in [(1, row["first"]), *row["later"]]
        ]  # fmt: skip

    def _rows(self, sql: str, bound: Bound) -> list[dict[str, Any]]:
        with classified():
            return list(stream(self._client(), sql, bound.values))
