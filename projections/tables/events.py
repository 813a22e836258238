"""The event store: every fact, once. The logs are folded from it, and can be again at any time."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Table
from schemas.events import EPOCH

_NAME = "LowCardinality(String)"
_MILLISECONDS = f"{TIME} CODEC(Delta, ZSTD)"

TABLE: Final = Table(
    name="events",
    comment="every fact, once; `event_id` is the fingerprint of its content",
    columns={
        "tenant_id": _NAME,
        "channel": _NAME,
        "kind": _NAME,
        "occurred_at": _MILLISECONDS,
        "event_id": "String CODEC(ZSTD)",
        "message_id": "String CODEC(ZSTD)",
        "recipient": "String CODEC(ZSTD)",
        "recorded_at": _MILLISECONDS,
        "provider": _NAME,
        "provider_message_id": "String CODEC(ZSTD)",
        "record_type": _NAME,
        "record_id": "String CODEC(ZSTD)",
        "subject": "String CODEC(ZSTD)",
        "text": "String CODEC(ZSTD)",
        "attempt": "UInt16 DEFAULT 1",
        "bounce_class": _NAME,
        "smtp_code": "UInt16",
        "enhanced_status": _NAME,
        "reason_code": _NAME,
        "diagnostic": "String CODEC(ZSTD)",
        "label": _NAME,
        "classified_by": _NAME,
        "late": "Bool",
        "provider_event_id": "String CODEC(ZSTD)",
        "part": "UInt16",
        "parts": "UInt16",
        "machine": "Nullable(Bool)",
        "handset": "Nullable(Bool)",
        "due_at": f"Nullable({TIME})",
        "url": "String CODEC(ZSTD)",
        "user_agent": "String CODEC(ZSTD)",
        "ip": "String CODEC(ZSTD)",
        "campaign": "String CODEC(ZSTD)",
        "tags": "Array(String)",
        "record_name": "String CODEC(ZSTD)",
        "record_url": "String CODEC(ZSTD)",
        "preview_url": "String CODEC(ZSTD)",
        "recipient_error": _NAME,
        "other_id": "String CODEC(ZSTD)",
        "source_topic": _NAME,
        "source_partition": "Int32 CODEC(ZSTD)",
        "source_offset": "Int64 CODEC(Delta, ZSTD)",
        # Of the adapter that read it; 0: a mailer's own event, or unknown.
        "adapter_version": "UInt16 CODEC(ZSTD)",
    },
    # `content` keeps apart what has one fingerprint but differs in what the fingerprint leaves out
    # (a corrected subject, say): a merge of parts must never lose a fact that a fold has seen.
    computed={
        "content": (
            "UInt64 MATERIALIZED cityHash64(provider_message_id, record_type, record_id, subject, "
            "text, bounce_class, diagnostic, label, classified_by, late, provider_event_id, parts, "
            "ifNull(machine, 2), ifNull(handset, 2), ifNull(due_at, toDateTime64(0, 3, 'UTC')), "
            "user_agent, ip, campaign, tags) CODEC(ZSTD)"
        ),
        # Of copies, the one recorded first stays: what the log showed at a time does not change.
        "version": (
            "UInt64 MATERIALIZED toUInt64(bitNot(toUnixTimestamp64Milli(recorded_at))) "
            "CODEC(Delta, ZSTD)"
        ),
    },
    order_by=("tenant_id", "channel", "kind", "occurred_at", "event_id", "content"),
    version="version",
)

#: What stands in a column of which a fact says nothing.
ZEROS: Final[dict[str, object]] = {
    name: None
    if "Nullable" in kind
    else []
    if kind.startswith("Array")
    else False
    if kind == "Bool"
    else ""
    if "String" in kind
    else EPOCH
    if kind.startswith(TIME)
    else 0
    for name, kind in TABLE.columns.items()
} | {"attempt": 1}
