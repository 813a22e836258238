"""The events that a policy needs, out of the event store: what a simulation is run over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from projections.clickhouse.client import scalar
from projections.clickhouse.ddl import Target
from projections.clickhouse.sql import Parameters, Query, stream
from projections.column_types import TIME
from projections.expressions import quote
from projections.tables.events import TABLE as EVENTS
from schemas.decisions import DECISION_LABEL
from schemas.events import FINAL_CLASSES, POLICY_KINDS, SUCCESS_KINDS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: What a policy goes by of an event, and what is only shown.
POLICY_COLUMNS: Final = (
    "event_id", "channel", "kind", "tenant_id", "message_id", "recipient", "occurred_at",
    "recorded_at", "provider", "attempt", "bounce_class", "classified_by", "smtp_code",
    "enhanced_status", "reason_code", "diagnostic", "label", "machine", "tags",
    "other_id",
)  # fmt: skip


def tenants_with_events(client: Client, target: Target, since: datetime | None = None) -> list[str]:
    """Return the tenants with events since a time that a policy needs."""
    parameters = Parameters()
    sql = (
        f"SELECT DISTINCT tenant_id FROM {_events(target)} "
        f"WHERE kind IN ({_literals(POLICY_KINDS)}){_since(parameters, since)} ORDER BY tenant_id"
    )
    return [row["tenant_id"] for row in stream(client, sql, parameters.values)]


def count_needed(client: Client, target: Target, tenant: str, since: datetime | None = None) -> int:
    """Return how many events `needed_events` yields."""
    query = Query(tenant)
    sql = f"SELECT count() FROM {_events(target)} WHERE {_needed(target, query, since)}"
    return int(scalar(client, sql, query.values))


def needed_events(
    client: Client, target: Target, tenant: str, since: datetime | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a tenant's events that a policy needs, by `POLICY_COLUMNS`, in order of their own time.

    Deliveries, opens and clicks are among them only of addresses with bounces that count in a
    row; of decisions only what people asked for: resets, and listings by hand. Copies may come.
    """
    query = Query(tenant)
    sql = (
        f"SELECT {', '.join(POLICY_COLUMNS)} FROM {_events(target)} "
        f"WHERE {_needed(target, query, since)} ORDER BY occurred_at, recorded_at, event_id"
    )
    yield from stream(client, sql, query.values)


def _needed(target: Target, query: Query, since: datetime | None) -> str:
    # All of a recipient is on one shard, but the whole set is asked for once rather than by each.
    counted = (
        f"SELECT recipient FROM {_events(target)} WHERE {query.of_tenant} AND channel = 'email' "
        f"AND kind = 'bounce' AND (bounce_class NOT IN ({_literals(FINAL_CLASSES)}) "
        "OR classified_by = 'refusal')"
    )
    return (
        f"{query.of_tenant}{_since(query, since)} AND recipient != '' AND ("
        f"(kind IN ({_literals(POLICY_KINDS)}) AND label != {quote(DECISION_LABEL)}) "
        "OR (kind = 'sent' AND channel = 'email' AND attempt > 1) "
        "OR (kind = 'suppressed' AND reason_code = 'by_hand') "
        "OR (kind = 'reinstated' AND has(tags, 'reset')) "
        f"OR (kind IN ({_literals(SUCCESS_KINDS)}) AND channel = 'email' "
        f"AND recipient GLOBAL IN ({counted})))"
    )


def _since(parameters: Parameters, since: datetime | None) -> str:
    return "" if since is None else f" AND occurred_at >= {parameters.bind(since, TIME)}"


def _events(target: Target) -> str:
    return f"{target.database}.{EVENTS.name}"


def _literals(kinds: Iterable[str]) -> str:
    return ", ".join(map(quote, kinds))
