"""What became of the retries of messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from projections.clickhouse.sql import stream
from projections.queries.suppressions import _known, _of
from projections.tables.retries import VIEW as RETRIES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


#: What may have become of a retry.
RetryState = Literal["scheduled", "asked", "answered", "cancelled", "exhausted"]


def retries(
    client: Client,
    database: str,
    tenant: str,
    *,
    state: RetryState | None = None,
    message_id: str | None = None,
    recipient: str | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return a tenant's retries, those due last first.

    Raises `QueryError` for an unknown state.
    """
    if state is not None:
        _known("state", state, get_args(RetryState))
    bound = _of(tenant)
    given: Mapping[str, str | None] = {
        "state": state, "message_id": message_id, "recipient": recipient,
    }  # fmt: skip
    for name, value in given.items():
        if value is not None:
            bound.conditions.append(f"{name} = {bound.bind(value, 'String')}")
    sql = (
        f"SELECT * FROM {database}.{RETRIES.name} WHERE {bound.where} "
        "ORDER BY coalesce(due_at, exhausted_at, answered_at) DESC, message_id, recipient, "
        f"attempt DESC LIMIT {int(limit)}"
    )
    return list(stream(client, sql, bound.values))
