"""The history of the blacklist: what was done to an address, by whom or what, when and why."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Table

_NAME: Final = "LowCardinality(String)"
_TEXT: Final = "String CODEC(ZSTD)"

TABLE: Final = Table(
    name="suppression_history",
    comment=(
        "append-only: one line per rule that listed an address, went on for longer, or ended; "
        "`refused` is a command that did nothing"
    ),
    columns={
        "tenant_id": _NAME,
        "channel": _NAME,
        "address": _TEXT,
        "occurred_at": TIME,
        "event_id": _TEXT,
        "recorded_at": TIME,
        "change": _NAME,
        "rule": _NAME,
        "since": f"Nullable({TIME})",
        "until": f"Nullable({TIME})",
        "actor": _TEXT,
        "reason": _TEXT,
        "message_id": _TEXT,
        "cause_event_id": _TEXT,
        "rules_version": "Int64",
        "source_topic": _NAME,
        "source_partition": "Int32",
        "source_offset": "Int64",
    },
    computed={
        # Of copies, the one recorded first stays.
        "version": "UInt64 MATERIALIZED toUInt64(bitNot(toUnixTimestamp64Milli(recorded_at)))",
    },
    order_by=(
        "tenant_id", "channel", "address", "occurred_at", "event_id", "cause_event_id",
    ),
    version="version",
)  # fmt: skip
