"""Names of customer records, and where the business application has them: as mailers say last."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Fill, Table

TABLE: Final = Table(
    name="record_names",
    comment="how customer records are called, and their address in the business application",
    columns={
        "tenant_id": "LowCardinality(String)",
        "record_type": "LowCardinality(String)",
        "record_id": "String CODEC(ZSTD)",
        "name": "String CODEC(ZSTD)",
        "url": "String CODEC(ZSTD)",
        "occurred_at": f"{TIME} CODEC(Delta, ZSTD)",
    },
    computed={
        # The latest event that says it stays.
        "version": (
            "UInt64 MATERIALIZED toUInt64(toUnixTimestamp64Milli(occurred_at)) CODEC(Delta, ZSTD)"
        ),
    },
    order_by=("tenant_id", "record_type", "record_id"),
    version="version",
    fill=Fill(
        select=(
            "SELECT tenant_id, record_type, record_id, "
            "argMax(event.record_name, (event.occurred_at, event.record_name)) AS name, "
            "argMax(event.record_url, (event.occurred_at, event.record_name)) AS url, "
            "max(event.occurred_at) AS occurred_at"
        ),
        where="record_id != '' AND (record_name != '' OR record_url != '')",
        group_by=("tenant_id", "record_type", "record_id"),
    ),
    index_granularity=512,
)
