"""Every event of a message, and why it has its status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from projections.clickhouse.sql import Bound, stream
from projections.expressions import TIME
from projections.tables import Projection, projections
from projections.tables.events import TABLE as EVENTS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def timeline(
    client: Client, database: str, *, message_id: str, recipient: str, tenant: str | None = None
) -> list[dict[str, Any]]:
    """Return every distinct fact about one message and recipient, in order of time.

    Without a `tenant` the facts of all tenants are returned: for operators only.
    """
    bound = Bound()
    found = f"recipient = {bound.bind(recipient, 'String')}"
    found += f" AND message_id = {bound.bind(message_id, 'String')}"
    if tenant is not None:
        found = f"tenant_id = {bound.bind(tenant, 'String')} AND {found}"
    when = " OR ".join(_when(client, database, log, found, bound) for log in projections().values())
    sql = (
        f"SELECT {', '.join(EVENTS.columns)} FROM {database}.{EVENTS.name} FINAL "
        f"WHERE {found} AND ({when}) ORDER BY occurred_at, recorded_at, event_id"
    )
    return list(stream(client, sql, bound.values))


def _when(client: Client, database: str, log: Projection, found: str, bound: Bound) -> str:
    """Return where in the events, which are in order of time, a message's facts are.

    Its state knows the first and the last that count in the log; of the others there are few.
    """
    sql = f"SELECT min(first_at), max(last_at) FROM {database}.{log.state_table} WHERE {found}"
    first, last = client.query(sql, parameters=bound.values).result_rows[0]
    kinds = f"kind IN {bound.bind(sorted(log.kinds), 'Array(String)')}"
    within = "false"
    if first is not None:
        start, end = bound.bind(first, TIME), bound.bind(last, TIME)
        within = f"{kinds} AND occurred_at >= {start} AND occurred_at <= {end}"
    return f"(channel = {bound.bind(log.channel, 'String')} AND ({within} OR NOT {kinds}))"
