"""All stored events of some messages, and the rows that a log has of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from projections.clickhouse.ddl import log_select, merge_select
from projections.clickhouse.sql import Parameters, Query, fetch_rows, sent_along, stream
from projections.clickhouse.store import arrow_schema
from projections.column_types import STRING, TIME
from projections.tables import Projection
from projections.tables.events import TABLE as EVENTS

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client


class MessageKey(NamedTuple):
    """A row of a log of one tenant."""

    recipient: str
    message_id: str


def messages_with_id(
    client: Client, database: str, log: Projection, message_id: str, tenant: str | None
) -> dict[str, list[MessageKey]]:
    """Return the rows of a log with a message's id, by tenant; without one, for operators only."""
    parameters = Parameters()
    where = f"message_id = {parameters.bind(message_id, STRING)}"
    if tenant is not None:
        where += f" AND tenant_id = {parameters.bind(tenant, STRING)}"
    sql = (
        f"SELECT DISTINCT tenant_id, recipient FROM {database}.{log.state_table} "
        f"WHERE {where} ORDER BY tenant_id, recipient"
    )
    by_tenant: dict[str, list[MessageKey]] = {}
    for name, recipient in fetch_rows(client, sql, parameters.values):
        by_tenant.setdefault(name, []).append(MessageKey(recipient, message_id))
    return by_tenant


def rows_of_messages(
    client: Client, database: str, log: Projection, tenant: str, keys: Sequence[MessageKey]
) -> dict[MessageKey, dict[str, Any]]:
    """Return the rows that a log has of some messages."""
    query = _of_messages(tenant, keys)
    merged = f"({merge_select(log, f'{database}.{log.state_table}', query.where)})"
    rows = stream(client, log_select(log, merged), query.values)
    return {MessageKey(row["recipient"], row["message_id"]): row for row in rows}


def events_of_messages(
    client: Client, database: str, log: Projection, tenant: str, keys: Sequence[MessageKey]
) -> pa.Table:
    """Return the stored events of some messages that count in a log."""
    query = _of_messages(tenant, keys)
    sql = (
        f"SELECT min(first_at), max(last_at) FROM {database}.{log.state_table} WHERE {query.where}"
    )
    [(first, last)] = fetch_rows(client, sql, query.values)
    query.add(
        f"channel = {query.bind(log.channel, STRING)}",
        f"kind IN {query.bind(sorted(log.kinds), f'Array({STRING})')}",
    )
    if first is None:  # none of them is in the log
        query.add("false")
    else:
        start, end = query.bind(first, TIME), query.bind(last, TIME)
        query.add(f"occurred_at >= {start}", f"occurred_at <= {end}")
    sql = f"SELECT {', '.join(EVENTS.columns)} FROM {database}.{EVENTS.name} WHERE {query.where}"
    rows = client.query_arrow(sql, use_strings=False, **sent_along(query.values))
    return rows.cast(arrow_schema(EVENTS))


def _of_messages(tenant: str, keys: Sequence[MessageKey]) -> Query:
    query = Query(tenant)
    inside = query.bind_list([tuple(key) for key in keys], STRING, STRING)
    query.add(f"(recipient, message_id) IN {inside}")
    return query
