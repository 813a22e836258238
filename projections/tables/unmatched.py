"""Unmatched events: those under a provider's id that name no message or no recipient themselves.

They are kept until an edge says of what they are, and afterwards with what they are joined to.
"""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Fill, Table
from projections.tables.shared import IS_MAILERS

TABLE: Final = Table(
    name="unmatched",
    comment="events that name no message or recipient, and what they are joined to, if anything",
    columns={
        "tenant_id": "LowCardinality(String)",
        "channel": "LowCardinality(String)",
        "provider_message_id": "String CODEC(ZSTD)",
        "kind": "LowCardinality(String)",
        "occurred_at": f"{TIME} CODEC(Delta, ZSTD)",
        "event_id": "String CODEC(ZSTD)",
        "provider": "LowCardinality(String)",
        "recipient": "String CODEC(ZSTD)",
        "joined_id": "String CODEC(ZSTD)",
        "joined_recipient": "String CODEC(ZSTD)",
        "version": "UInt64 CODEC(ZSTD)",
    },
    computed={"id_hash": "UInt32 MATERIALIZED CRC32(provider_message_id) CODEC(NONE)"},
    order_by=(
        "tenant_id", "channel", "id_hash", "provider_message_id", "kind", "occurred_at", "event_id",
    ),
    version="version",
    fill=Fill(
        select=(
            "SELECT tenant_id, channel, provider_message_id, kind, occurred_at, event_id, "
            "provider, recipient, '' AS joined_id, '' AS joined_recipient, 0 AS version"
        ),
        where=(
            "provider_message_id != '' AND other_id = '' "
            "AND (message_id = provider_message_id OR recipient = '') "
            f"AND source_topic != 'delivery.decisions' AND NOT {IS_MAILERS.sql}"
        ),
    ),
    index_granularity=512,
)  # fmt: skip
