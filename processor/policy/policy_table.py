"""The policies in force, told to the database for people and their queries to read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from processor.policy.config import Policies, Policy
from projections.clickhouse.client import classified
from projections.clickhouse.sql import stream
from projections.clickhouse.store import arrow_schema, insert
from projections.tables.policies import VIEW
from projections.tables.policy_history import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Stands for every tenant that has no policy of its own.
OTHERS: Final = "*"
_SCHEMA: Final = arrow_schema(TABLE)


def rows(policies: Policies) -> list[dict[str, Any]]:
    """Return the policies by the columns of their table, but the time."""
    named = {OTHERS: policies.default, **policies.tenants}
    return [_row(tenant, policy) for tenant, policy in sorted(named.items())]


def _row(tenant: str, policy: Policy) -> dict[str, Any]:
    told = policy.model_dump(mode="json")
    return {"tenant_id": tenant, **told, "blacklists": sorted(policy.blacklists)}


def tell(connect: Callable[[], Client], database: str, policies: Policies) -> bool:
    """Write the policies unless they are what the database has; tell whether they were written.

    Raises as `store.connect` and `store.insert` do.
    """
    told = rows(policies)
    with classified():
        client = connect()
        known = stream(client, f"SELECT * FROM {database}.{VIEW.name} ORDER BY tenant_id", {})
        if [{**row, "since": None} for row in known] == [{**row, "since": None} for row in told]:
            return False
    now = datetime.now(UTC)
    insert(
        client, database, TABLE,
        pa.Table.from_pylist([{**row, "since": now} for row in told], schema=_SCHEMA),
    )  # fmt: skip
    return True
