"""Who did, or looked at, what: one line for each sign-in, look, export, change and key."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Table

TABLE: Final = Table(
    name="audit",
    comment="who did or looked at what, and how; tenant '*' is what belongs to no single one",
    columns={
        "tenant_id": "LowCardinality(String)",
        "occurred_at": TIME,
        "id": "String",
        "actor": "String",
        "key_id": "LowCardinality(String)",
        "via": "LowCardinality(String)",
        "action": "LowCardinality(String)",
        "object_type": "LowCardinality(String)",
        "object": "String CODEC(ZSTD)",
        "detail": "String CODEC(ZSTD)",
        "outcome": "LowCardinality(String)",
        "client": "String",
    },
    computed={
        # What retention counts from, as with raw records.
        "stored_on": "Date MATERIALIZED toDate(now('UTC')) CODEC(ZSTD(1))",
    },
    order_by=("tenant_id", "occurred_at", "id"),
    version="",
)
