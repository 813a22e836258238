"""The history of trouble: what the rules for retries and the blacklist would have been fed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from projections.clickhouse.client import scalar
from projections.clickhouse.ddl import Target
from projections.clickhouse.sql import Bound, stream
from projections.expressions import quote
from projections.tables.events import TABLE as EVENTS
from schemas.decisions import OURS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: What is read of a fact.
COLUMNS: Final = (
    "event_id", "channel", "kind", "tenant_id", "message_id", "recipient", "occurred_at",
    "recorded_at", "provider", "attempt", "bounce_class", "smtp_code", "enhanced_status",
    "reason_code", "diagnostic", "label", "machine", "tags",
)  # fmt: skip
#: Facts that may list an address, end that, or ask for a retry.
_TROUBLE: Final = ("bounce", "complaint", "opt_out", "unsubscribe", "resubscribe", "invalid")
#: Facts that break a row of soft bounces, or make a retry needless.
_GOOD: Final = ("delivery", "open", "click")


def tenants(client: Client, target: Target, since: datetime | None = None) -> list[str]:
    """Return the tenants that had trouble since a time."""
    bound = Bound()
    sql = (
        f"SELECT DISTINCT tenant_id FROM {_events(target)} "
        f"WHERE kind IN ({_listed(_TROUBLE)}){_since(bound, since)} ORDER BY tenant_id"
    )
    return [row["tenant_id"] for row in stream(client, sql, bound.values)]


def count(client: Client, target: Target, tenant: str, since: datetime | None = None) -> int:
    """Return how many facts `facts` yields."""
    bound = Bound()
    where = _where(target, bound, tenant, since)
    sql = f"SELECT count() FROM {_events(target)} WHERE {where}"
    return int(scalar(client, sql, bound.values))


def facts(
    client: Client, target: Target, tenant: str, since: datetime | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a tenant's facts that matter, by `COLUMNS`, in order of their own time.

    Deliveries, opens and clicks are among them only of addresses that ever softly bounced; of
    decisions only what people asked for: resets, and listings by hand. Copies may come.
    """
    bound = Bound()
    where = _where(target, bound, tenant, since)
    sql = (
        f"SELECT {', '.join(COLUMNS)} FROM {_events(target)} WHERE {where} "
        "ORDER BY occurred_at, recorded_at, event_id"
    )
    yield from stream(client, sql, bound.values)


def _where(target: Target, bound: Bound, tenant: str, since: datetime | None) -> str:
    owner = f"tenant_id = {bound.bind(tenant, 'String')}"
    # All of a recipient is on one shard, but the whole set is asked for once rather than by each.
    softly_bounced = (
        f"SELECT recipient FROM {_events(target)} WHERE {owner} AND channel = 'email' "
        "AND kind = 'bounce' AND bounce_class NOT IN ('hard', 'block')"
    )
    return (
        f"{owner}{_since(bound, since)} AND recipient != '' AND ("
        f"(kind IN ({_listed(_TROUBLE)}) AND label != {quote(OURS)}) "
        "OR (kind = 'sent' AND channel = 'email' AND attempt > 1) "
        "OR (kind = 'suppressed' AND reason_code = 'by_hand') "
        "OR (kind = 'reinstated' AND has(tags, 'reset')) "
        f"OR (kind IN ({_listed(_GOOD)}) AND channel = 'email' "
        f"AND recipient GLOBAL IN ({softly_bounced})))"
    )


def _since(bound: Bound, since: datetime | None) -> str:
    at = "" if since is None else bound.bind(since, "DateTime64(3, 'UTC')")
    return f" AND occurred_at >= {at}" if at else ""


def _events(target: Target) -> str:
    return f"{target.database}.{EVENTS.name}"


def _listed(kinds: tuple[str, ...]) -> str:
    return ", ".join(map(quote, kinds))
