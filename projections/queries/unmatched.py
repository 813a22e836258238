"""Events that fit no row: under a provider's id that nobody explains, or without id or recipient.

Beside each are messages that it may be of: to the same address, sent in the minutes before. That is
a hint for people, and joins nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from projections.clickhouse.sql import Parameters, Query, stream
from projections.column_types import STRING, TIME
from projections.tables import Projection, projections
from projections.tables.events import TABLE as EVENTS
from projections.tables.unmatched import TABLE as UNMATCHED
from schemas.events import DECISION_KINDS
from schemas.words import Words

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: So many of the newest events under a provider's id are looked through.
MAX_SCANNED_EVENTS: Final = 10_000
#: So far back events are listed, unless a time is named.
DEFAULT_PERIOD: Final = timedelta(days=7)
#: A message that was sent so long before an event may be its own.
MAX_NEAR_MESSAGE_AGE: Final = timedelta(minutes=10)
MAX_NEAR_MESSAGES: Final = 3
UNMATCHED_COLUMNS: Final = (
    "occurred_at", "channel", "provider", "kind", "provider_message_id", "recipient", "reason",
    "near",
)  # fmt: skip
_UNEXPLAINED: Final = Words("no event says which message the provider's id means")
_NO_ID: Final = Words("it names no message")
_NO_RECIPIENT: Final = Words("it names no recipient, and its message has several, or none is known")


def list_unmatched(
    client: Client, database: str, tenant: str, *, since: datetime | None, limit: int
) -> list[dict[str, Any]]:
    """Return the newest unmatched events of a tenant since a time, or of the last week.

    They have `UNMATCHED_COLUMNS`; `near` are the ids of messages that may be theirs. Raises
    ClickHouse's errors.
    """
    since = since or datetime.now(UTC) - DEFAULT_PERIOD
    rows = [
        row for log in projections().values()
        for row in _unexplained(client, database, log, tenant, since, limit)
    ]  # fmt: skip
    rows += _without_ids(client, database, tenant, since, limit)
    rows.sort(key=lambda row: row["occurred_at"], reverse=True)
    rows = rows[:limit]
    for log in projections().values():
        of_log = [row for row in rows if row["channel"] == log.channel]
        _add_near_messages(client, database, log, tenant, of_log)
    return rows


def _unexplained(
    client: Client, database: str, log: Projection, tenant: str, since: datetime, limit: int
) -> Iterator[dict[str, Any]]:
    """Yield events under an id that no edge and no mailer names, and those without a recipient."""
    query = Query(tenant)
    query.add(
        f"channel = {query.bind(log.channel, STRING)}",
        f"occurred_at >= {query.bind(since, TIME)}",
    )
    newest = (
        "SELECT occurred_at, channel, provider, kind, provider_message_id, recipient "
        f"FROM {database}.{UNMATCHED.name} FINAL WHERE {query.where} AND joined_id = '' "
        f"ORDER BY occurred_at DESC LIMIT {MAX_SCANNED_EVENTS}"
    )
    named = (
        f"SELECT message_id FROM {database}.{log.state_table} WHERE {query.of_tenant} "
        f"AND own_at IS NOT NULL AND message_id IN (SELECT provider_message_id FROM ({newest}))"
    )
    no_recipient, unexplained = (
        query.bind(reason, STRING) for reason in (_NO_RECIPIENT, _UNEXPLAINED)
    )
    return stream(
        client,
        f"SELECT *, if(recipient = '', {no_recipient}, {unexplained}) AS reason FROM ({newest}) "
        f"WHERE recipient = '' OR provider_message_id NOT IN ({named}) "
        f"ORDER BY occurred_at DESC LIMIT {int(limit)}",
        query.values,
    )


def _without_ids(
    client: Client, database: str, tenant: str, since: datetime, limit: int
) -> Iterator[dict[str, Any]]:
    """Yield events without a provider's id that name no message, or no recipient."""
    query = Query(tenant)
    own = query.bind(sorted(DECISION_KINDS), f"Array({STRING})")
    query.add(
        f"occurred_at >= {query.bind(since, TIME)}", f"kind NOT IN {own}",
        "provider_message_id = '' AND (message_id = '' OR recipient = '')",
    )  # fmt: skip
    reasons = query.bind(_NO_ID, STRING), query.bind(_NO_RECIPIENT, STRING)
    return stream(
        client,
        "SELECT occurred_at, channel, provider, kind, provider_message_id, recipient, "
        f"if(message_id = '', {', '.join(reasons)}) AS reason FROM {database}.{EVENTS.name} "
        f"WHERE {query.where} AND source_topic != 'delivery.decisions' "
        f"ORDER BY occurred_at DESC LIMIT {int(limit)}",
        query.values,
    )


def _add_near_messages(
    client: Client, database: str, log: Projection, tenant: str, rows: Iterable[dict[str, Any]]
) -> None:
    sent: dict[str, list[tuple[datetime, str]]] = {}
    recipients = sorted({row["recipient"] for row in rows} - {""})
    if recipients:
        parameters = Parameters()
        of_tenant = f"tenant_id = {parameters.bind(tenant, STRING)}"
        among = parameters.bind_list(recipients, STRING)
        for row in stream(
            client,
            "SELECT recipient, message_id, min(own_at) AS at "
            f"FROM {database}.{log.state_table} WHERE {of_tenant} AND recipient IN {among} "
            "AND own_at IS NOT NULL GROUP BY recipient, message_id ORDER BY at DESC",
            parameters.values,
        ):
            sent.setdefault(row["recipient"], []).append((row["at"], row["message_id"]))
    for row in rows:
        near = [
            message_id for at, message_id in sent.get(row["recipient"], ())
            if timedelta() <= row["occurred_at"] - at <= MAX_NEAR_MESSAGE_AGE
        ]  # fmt: skip
        row["near"] = near[:MAX_NEAR_MESSAGES]
