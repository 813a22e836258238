"""Our decisions that change a suppression, as rows of `suppression_history`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import pyarrow as pa
from pydantic import ValidationError

from processor.kafka.records import Chunk
from projections.clickhouse.store import arrow_schema
from projections.tables.suppression_history import TABLE
from schemas.decisions import DecisionEvent
from schemas.events import EPOCH, EventFields

#: The kinds of decisions that may be rows of it.
HISTORY_KINDS: Final = frozenset({"suppressed", "reinstated", "note"})
_SCHEMA: Final = arrow_schema(TABLE)
#: Columns that a decision has by the same name.
_SAME: Final = {
    "tenant_id", "channel", "occurred_at", "change", "since", "until", "actor", "cause_event_id",
    "rules_version",
}  # fmt: skip

HistoryRow = dict[str, Any]


def history_rows(value: bytes, event: EventFields, chunk: Chunk) -> list[HistoryRow]:
    """Return the row that a decision is, or none: it changes no suppression, or is not ours.

    `value` is that of its record, and `event` what intake has made of it, of a chunk.
    """
    try:
        decision = DecisionEvent.model_validate_json(value)
    except ValidationError:
        return []  # an event like any other
    if decision.change is None:
        return []
    return [{
        **decision.model_dump(include=_SAME),
        "event_id": event["event_id"],
        "recorded_at": EPOCH + timedelta(milliseconds=event["recorded_ms"]),
        "address": event["recipient"],
        "message_id": event["message_id"],
        "rule": decision.rule or "",
        "reason": event.get("diagnostic", ""),
        "source_topic": chunk.topic,
        "source_partition": chunk.partition,
        "source_offset": event["source_offset"],
    }]  # fmt: skip


def to_table(rows: Sequence[HistoryRow]) -> pa.Table:
    """Return rows as a table to insert."""
    return pa.Table.from_pylist(list(rows), schema=_SCHEMA)
