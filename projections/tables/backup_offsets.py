"""Up to where the workers had read when a backup began, so that the rest is read again after it."""

from __future__ import annotations

from typing import Final

from projections.tables import Table

TABLE: Final = Table(
    name="backup_offsets",
    comment="how far each partition was written when a backup began, which has this row as well",
    columns={
        "backup": "String",
        "topic": "LowCardinality(String)",
        "partition": "Int32",
        "offset": "Int64",
    },
    computed={},
    order_by=("backup", "topic", "partition"),
    version="",
)
