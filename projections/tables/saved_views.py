"""Searches of a log that people saved under a name; each is its owner's alone."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Table

TABLE: Final = Table(
    name="saved_views",
    comment="searches of a log by their names; owner is the id of a key or person",
    columns={
        "tenant_id": "LowCardinality(String)",
        "owner": "String",
        "channel": "LowCardinality(String)",
        "name": "String",
        "query": "String",
        "saved_at": TIME,
        "is_deleted": "Bool",
    },
    computed={},
    order_by=("tenant_id", "owner", "channel", "name"),
    version="saved_at",
)
