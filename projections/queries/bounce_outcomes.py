"""What became of addresses after they bounced: what bounce rules are graded by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from projections.clickhouse.ddl import Target
from projections.clickhouse.reclassify import EVIDENCE, classified_by_rules
from projections.clickhouse.sql import Parameters, stream
from projections.column_types import TIME
from projections.expressions import quote
from projections.tables.events import TABLE as EVENTS
from schemas.events import SUCCESS_KINDS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_SUCCESSES: Final = ", ".join(map(quote, SUCCESS_KINDS))


def bounce_outcomes(
    client: Client,
    target: Target,
    feeds: Mapping[str, str],
    *,
    tenant: str | None,
    since: datetime | None,
    failing_days: int,
) -> Iterator[dict[str, Any]]:
    """Yield what an email bounce's class rests on (`EVIDENCE`), with its addresses as hashes.

    `addresses` bounced so; `recovered` of them were delivered to, or opened or clicked by a person,
    later; `failing` were not, and still bounced `failing_days` later. `feeds` names the topic of
    each provider's raw feed: what a mailer says itself is not graded.
    """
    parameters = Parameters()
    events = f"{target.database}.{EVENTS.name}"
    bounced = f"recipient != '' AND {classified_by_rules(feeds)}"
    if tenant is not None:
        bounced += f" AND tenant_id = {parameters.bind(tenant, 'String')}"
    if since is not None:
        bounced += f" AND occurred_at >= {parameters.bind(since, TIME)}"
    recipients = f"SELECT tenant_id, recipient FROM {events} WHERE {bounced}"
    days = parameters.bind(failing_days, "UInt32")
    evidence = ", ".join(EVIDENCE)
    # All about an address is on one shard.
    sql = (
        f"SELECT {evidence}, groupArray(address) AS addresses, "
        "groupArrayIf(address, success_at > first_at) AS recovered, groupArrayIf(address, "
        f"success_at <= first_at AND last_at >= first_at + toIntervalDay({days})) AS failing "
        f"FROM (SELECT tenant_id, recipient, {evidence}, min(occurred_at) AS first_at, "
        f"sipHash64(tenant_id, recipient) AS address FROM {events} "
        f"WHERE {bounced} GROUP BY tenant_id, recipient, {evidence}) AS bounced "
        "LEFT JOIN (SELECT tenant_id, recipient, "
        "maxIf(occurred_at, kind != 'bounce') AS success_at, "
        f"maxIf(occurred_at, kind = 'bounce') AS last_at FROM {events} WHERE channel = 'email' "
        f"AND (kind IN ('bounce', 'delivery') "
        f"OR (kind IN ({_SUCCESSES}) AND NOT ifNull(machine, 0))) "
        f"AND (tenant_id, recipient) IN ({recipients}) "
        "GROUP BY tenant_id, recipient) AS later USING (tenant_id, recipient) "
        f"GROUP BY {evidence}"
    )
    yield from stream(client, sql, parameters.values)
