"""Which events the log has already, by what is the same of one event in any form of export."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from projections.clickhouse.client import classified_errors
from projections.clickhouse.sql import Parameters, fetch_rows
from projections.column_types import TIME

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Kinds that a message has once for each attempt, so that their time need not agree.
SINGLE_KINDS: Final = frozenset(
    {"queued", "sent", "delivery", "bounce", "complaint", "invalid", "skipped", "failure",
     "undelivered", "rejected", "failed", "expired", "unknown", "read", "opt_out"}
)  # fmt: skip
#: How far the times of one event may differ: exports round, and some have when a message was sent.
_MARGIN: Final = timedelta(days=7)


class EventMark(NamedTuple):
    """What an event is recognised by; `second` is its time in seconds, 0 of a single kind."""

    tenant_id: str
    kind: str
    provider_message_id: str
    recipient: str
    second: int = 0


def mark_of(
    tenant: str, kind: str, provider_message_id: str, recipient: str, at: datetime
) -> EventMark:
    """Return what an event is recognised by."""
    second = 0 if kind in SINGLE_KINDS else int(at.timestamp())
    return EventMark(tenant, kind, provider_message_id, recipient, second)


def known_events(
    client: Client, database: str, provider: str,
    marks: Sequence[EventMark], since: datetime, until: datetime,
) -> set[EventMark]:  # fmt: skip
    """Return which of these the log has; all are of times from `since` to `until`.

    Raises as `classified_errors` does.
    """
    if not marks:
        return set()
    parameters = Parameters()
    tenants = parameters.bind_list(sorted({mark.tenant_id for mark in marks}), "String")
    kinds = parameters.bind_list(sorted({mark.kind for mark in marks}), "String")
    ids = parameters.bind_list(sorted({mark.provider_message_id for mark in marks}), "String")
    conditions = (
        f"tenant_id IN {tenants}",
        f"provider = {parameters.bind(provider, 'String')}",
        f"kind IN {kinds}",
        f"provider_message_id IN {ids}",
        f"occurred_at >= {parameters.bind(since - _MARGIN, TIME)}",
        f"occurred_at <= {parameters.bind(until + _MARGIN, TIME)}",
    )
    with classified_errors():
        rows = fetch_rows(
            client,
            "SELECT DISTINCT tenant_id, kind, provider_message_id, recipient, occurred_at "
            f"FROM {database}.events WHERE {' AND '.join(conditions)}",
            parameters.values,
        )
    return {mark_of(*row) for row in rows} & set(marks)
