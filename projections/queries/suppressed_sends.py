"""Which addresses were suppressed, and what was sent there since: for a worker to follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from projections.clickhouse.client import classified_errors
from projections.clickhouse.sql import Parameters, stream
from projections.column_types import TIME
from projections.tables import KEY, Projection, projections
from projections.tables.suppression_history import TABLE as HISTORY
from schemas.addresses import Address

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class SuppressionRow(NamedTuple):
    """That an address was suppressed: by which decision, since when, and when it was recorded."""

    address: Address
    event_id: str
    since: datetime
    recorded_at: datetime


class SuppressionLog:
    """The suppression history of a database, connected at the first question.

    Both methods block, and raise as `classified` does.
    """

    def __init__(self, connect: Callable[[], Client], database: str) -> None:
        self._client = cache(connect)
        self._database = database

    def suppressions(self, since: datetime | None) -> list[SuppressionRow]:
        """Return the rows that suppressed an address and were recorded since a time."""
        parameters = Parameters()
        recorded = "" if since is None else f" AND recorded_at >= {parameters.bind(since, TIME)}"
        rows = self._rows(
            "SELECT tenant_id, channel, address, event_id, ifNull(since, occurred_at) AS start, "
            f"recorded_at FROM {self._database}.{HISTORY.name} "
            f"WHERE change IN ('added', 'extended'){recorded}",
            parameters,
        )
        return [
            SuppressionRow(
                Address(row["tenant_id"], row["channel"], row["address"]),
                row["event_id"], row["start"], row["recorded_at"],
            )
            for row in rows
        ]  # fmt: skip

    def sends(self, rows: Sequence[SuppressionRow]) -> list[dict[str, Any]]:
        """Return the sends to the addresses of rows since each was suppressed, as event fields.

        Of each message the log knows the time of the first, and of every attempt after it.
        """
        since: dict[Address, datetime] = {}
        for row in rows:
            since[row.address] = min(row.since, since.get(row.address, row.since))
        sends = [send for log in projections().values() for send in self._sends(log, since)]
        return [
            send for send in sends
            if send["occurred_at"] >= since[
                Address(send["tenant_id"], send["channel"], send["recipient"])
            ]
        ]  # fmt: skip

    def _sends(self, log: Projection, since: Mapping[Address, datetime]) -> list[dict[str, Any]]:
        addresses = [(a.tenant_id, a.address) for a in since if a.channel == log.channel]
        if not addresses:
            return []
        parameters = Parameters()
        resends = "[]"
        if any(fold.name == "resends" for fold in log.folds):
            resends = "groupUniqArrayArray(resends)"
        rows = self._rows(
            "SELECT tenant_id, recipient, message_id, min(sent_at) AS first, "
            f"arrayMap(sent -> (sent.1, sent.2), {resends}) AS later "
            f"FROM {self._database}.{log.state_table} WHERE (tenant_id, recipient) IN "
            f"{parameters.bind_list(addresses, 'String', 'String')} "
            "GROUP BY tenant_id, recipient, message_id HAVING first IS NOT NULL",
            parameters,
        )
        return [
            {
                "channel": log.channel, "kind": "sent", "attempt": attempt, "occurred_at": at,
                **{name: row[name] for name in KEY},
            }
            for row in rows for attempt, at in [(1, row["first"]), *row["later"]]
        ]  # fmt: skip

    def _rows(self, sql: str, parameters: Parameters) -> list[dict[str, Any]]:
        with classified_errors():
            return list(stream(self._client(), sql, parameters.values))
