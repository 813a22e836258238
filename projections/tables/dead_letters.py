"""Records, or elements of a batch, that could not become facts: where, why, and their raw bytes."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Table

TABLE: Final = Table(
    name="dead_letters",
    comment="what could not be read; `element` is the place in a batch payload, -1 for all of it",
    columns={
        "source_topic": "LowCardinality(String)",
        "source_partition": "Int32",
        "source_offset": "Int64",
        "element": "Int32",
        "recorded_at": TIME,
        "died_at": TIME,
        "reason": "String CODEC(ZSTD)",
        "raw": "String CODEC(ZSTD)",
        "headers": "Map(String, String)",
        "replayed_at": f"Nullable({TIME})",
    },
    computed={
        # A replayed one stays replayed, whatever is redelivered later.
        "version": "UInt64 MATERIALIZED toUInt64(ifNull(toUnixTimestamp64Milli(replayed_at), 0))",
    },
    order_by=("source_topic", "source_partition", "source_offset", "element"),
    version="version",
)
