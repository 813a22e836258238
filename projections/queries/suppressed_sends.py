"""What was sent to addresses since they were suppressed: for a worker that heard of it late."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from projections.clickhouse.client import classified_errors
from projections.clickhouse.sql import Parameters, stream
from projections.tables import KEY, Projection, projections
from schemas.addresses import Address

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class SuppressedSends:
    """The sends of a database, connected at the first question."""

    def __init__(self, connect: Callable[[], Client], database: str) -> None:
        self._client = cache(connect)
        self._database = database

    def fetch(self, since: Mapping[Address, datetime]) -> list[dict[str, Any]]:
        """Return the sends to each address since a time, as event fields; blocks.

        Of each message the log knows the time of the first, and of every attempt after it.
        Raises as `classified_errors` does.
        """
        sends = [send for log in projections().values() for send in self._sends(log, since)]
        return [
            send for send in sends
            if send["occurred_at"] >= since[
                Address(send["tenant_id"], send["channel"], send["recipient"])
            ]
        ]  # fmt: skip

    def _sends(self, log: Projection, of: Iterable[Address]) -> list[dict[str, Any]]:
        addresses = [(a.tenant_id, a.address) for a in of if a.channel == log.channel]
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
