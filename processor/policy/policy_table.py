"""The policies in force, written to the database for analysts and their queries to read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from processor.policy.config import Policies, Policy
from projections.clickhouse.client import classified_errors
from projections.clickhouse.sql import stream
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.tables.policies import VIEW
from projections.tables.policy_history import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Stands for every tenant that has no policy of its own.
ALL_OTHERS: Final = "*"
_SCHEMA: Final = arrow_schema(TABLE)


def policy_rows(policies: Policies) -> list[dict[str, Any]]:
    """Return the policies by the columns of their table, but the time."""
    named = {ALL_OTHERS: policies.default, **policies.tenants}
    return [_row(tenant, policy) for tenant, policy in sorted(named.items())]


def _row(tenant: str, policy: Policy) -> dict[str, Any]:
    columns = policy.model_dump(mode="json")
    return {"tenant_id": tenant, **columns, "blacklists": sorted(policy.blacklists)}


def write_policies(connect: Callable[[], Client], database: str, policies: Policies) -> bool:
    """Write the policies unless they are what the database has; tell whether they were written.

    Raises as `connect` and `store.insert` do.
    """
    rows = policy_rows(policies)
    with classified_errors():
        client = connect()
        known = stream(client, f"SELECT * FROM {database}.{VIEW.name} ORDER BY tenant_id", {})
        if [{**row, "since": None} for row in known] == [{**row, "since": None} for row in rows]:
            return False
    now = datetime.now(UTC)
    insert_rows(
        client, database, TABLE,
        pa.Table.from_pylist([{**row, "since": now} for row in rows], schema=_SCHEMA),
    )  # fmt: skip
    return True
