"""Edges: which message the ids of providers mean, of every event that carries both ids."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Fill, Table
from projections.tables.events import TABLE as EVENTS

TABLE: Final = Table(
    name="edges",
    comment="which message a provider's id means, as events that carry both ids say",
    columns={
        "tenant_id": "LowCardinality(String)",
        "channel": "LowCardinality(String)",
        "provider_message_id": "String CODEC(ZSTD)",
        "message_id": "String CODEC(ZSTD)",
        "provider": "LowCardinality(String)",
        "recipient": "String CODEC(ZSTD)",
        "attempt": EVENTS.columns["attempt"],
        "occurred_at": f"{TIME} CODEC(Delta, ZSTD)",
    },
    computed={
        "id_hash": "UInt32 MATERIALIZED CRC32(provider_message_id) CODEC(NONE)",
        # The earliest event that says it stays.
        "version": (
            "UInt64 MATERIALIZED toUInt64(bitNot(toUnixTimestamp64Milli(occurred_at))) "
            "CODEC(Delta, ZSTD)"
        ),
    },
    order_by=(
        "tenant_id", "channel", "id_hash", "provider_message_id", "message_id", "provider",
        "recipient", "attempt",
    ),
    version="version",
    fill=Fill(
        select=(
            "SELECT tenant_id, channel, provider_message_id, message_id, provider, recipient, "
            "attempt, min(event.occurred_at) AS occurred_at"
        ),
        # What was joined by an edge is none itself.
        where=(
            "provider_message_id != '' AND message_id != '' AND message_id != provider_message_id "
            "AND other_id = ''"
        ),
        group_by=(
            "tenant_id", "channel", "provider_message_id", "message_id", "provider", "recipient",
            "attempt",
        ),
    ),
    index_granularity=512,
)  # fmt: skip
