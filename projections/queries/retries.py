"""What became of the retries of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from projections.clickhouse.sql import Query, stream
from projections.column_types import STRING
from projections.queries.suppressions import check_choice
from projections.tables.retries import VIEW as RETRIES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: What may have become of a retry.
RetryState = Literal["scheduled", "asked", "answered", "cancelled", "exhausted"]


def list_retries(
    client: Client,
    database: str,
    tenant: str,
    *,
    state: RetryState | None = None,
    message_id: str | None = None,
    recipient: str | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return a tenant's retries, those due last first. Raises `QueryError` for an unknown state."""
    if state is not None:
        check_choice("state", state, get_args(RetryState))
    query = Query(tenant)
    filters = {"state": state, "message_id": message_id, "recipient": recipient}
    for name, value in filters.items():
        if value is not None:
            query.add(f"{name} = {query.bind(value, STRING)}")
    sql = (
        f"SELECT * FROM {database}.{RETRIES.name} WHERE {query.where} "
        "ORDER BY coalesce(due_at, exhausted_at, answered_at) DESC, message_id, recipient, "
        f"attempt DESC LIMIT {int(limit)}"
    )
    return list(stream(client, sql, query.values))
