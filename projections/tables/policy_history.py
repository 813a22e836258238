"""The policies that were ever in force, as workers started with them."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Table

TABLE: Final = Table(
    name="policy_history",
    comment="policies for retries and the blacklist, from `since` on; '*' is every other tenant",
    columns={
        "since": TIME,
        "tenant_id": "LowCardinality(String)",
        "retries": "UInt16",
        "schedule": "Array(String)",
        "horizon": "String",
        "soft_threshold": "UInt16",
        "soft_expiry": "String",
        "refusal_threshold": "UInt16",
        "refusal_expiry": "String",
        "blacklists": "Array(String)",
        "rules_version": "Int64",
    },
    computed={"version": "UInt64 MATERIALIZED 0"},
    order_by=("since", "tenant_id"),
    version="version",
)
