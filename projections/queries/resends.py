"""What became of messages that people asked to be sent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from projections.clickhouse.sql import Query, stream
from projections.column_types import STRING, TIME
from projections.tables.events import TABLE as EVENTS
from schemas.addresses import Address
from schemas.decisions import DECISION_LABEL

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: The notes that answer a resend, and how they are called as changes are.
_ANSWERS: Final = {"resend_asked": "requested", "resend_refused": "refused"}


def next_attempt(explanation: Mapping[str, Any]) -> int:
    """Return the attempt after the last that an explained message is known to have had."""
    events = explanation["facts"]
    attempts = [event.get("attempt") or 1 for event in events if event["kind"] == "sent"]
    return max([1, *attempts, explanation["row"].get("attempts") or 1]) + 1


def resend_outcomes(
    client: Client, database: str, commands: Sequence[tuple[Address, str]], *, since: datetime
) -> dict[str, dict[str, Any]]:
    """Return what resends led to that were asked for since a time, by the ids of their commands.

    Those without an answer have none. An answer has `change` ("requested" or "refused"), `reason`,
    `attempt`, `message_id` and `occurred_at`.
    """
    outcomes: dict[str, dict[str, Any]] = {}
    for address in dict.fromkeys(address for address, _ in commands):
        ids = [name for each, name in commands if each == address]
        query = Query(address.tenant_id)
        query.add(
            f"channel = {query.bind(address.channel, STRING)}",
            "kind = 'note'",
            f"occurred_at >= {query.bind(since, TIME)}",
            f"recipient = {query.bind(address.address, STRING)}",
            f"label = {query.bind(DECISION_LABEL, STRING)}",
            f"provider_event_id IN {query.bind_list(ids, STRING)}",
        )
        sql = (
            "SELECT provider_event_id, reason_code, diagnostic AS reason, attempt, message_id, "
            f"occurred_at FROM {database}.{EVENTS.name} WHERE {query.where} ORDER BY occurred_at"
        )
        for row in stream(client, sql, query.values):
            command_id, code = row.pop("provider_event_id"), row.pop("reason_code")
            if code in _ANSWERS:
                outcomes[command_id] = {**row, "change": _ANSWERS[code]}
    return outcomes
