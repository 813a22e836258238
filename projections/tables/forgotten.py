"""The people who were forgotten, by keyed hash: what is refused of them, and the receipts."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Table

TABLE: Final = Table(
    name="forgotten",
    comment="who was forgotten, by a keyed hash: when, by whom, and how much was changed",
    columns={
        "tenant_id": "LowCardinality(String)",
        "channel": "LowCardinality(String)",
        # Stands in for the address wherever it stood.
        "pseudonym": "String",
        "began_at": TIME,
        "actor": "String",
        # Of the secret: by another one nobody of them would be known.
        "secret_check": "LowCardinality(String)",
        "ended_at": f"Nullable({TIME})",
        # Rows by table, as JSON.
        "counts": "String",
    },
    computed={
        # What has ended stays so.
        "version": "UInt64 MATERIALIZED toUInt64(ifNull(toUnixTimestamp64Milli(ended_at), 0))",
    },
    order_by=("tenant_id", "channel", "pseudonym", "began_at"),
    version="version",
)
