"""What decisions tell of the history of the blacklist, as lines of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import pyarrow as pa
from pydantic import ValidationError

from processor.kafka.records import Chunk
from projections.clickhouse.store import arrow_schema
from projections.tables.suppression_history import TABLE
from schemas.decisions import DecisionFact
from schemas.events import EPOCH, Fields

#: The kinds of decisions that may be lines of it.
IN_HISTORY: Final = frozenset({"suppressed", "reinstated", "note"})
_SCHEMA: Final = arrow_schema(TABLE)

Line = dict[str, Any]


def told(value: bytes, event: Fields, chunk: Chunk) -> list[Line]:
    """Return the line that a decision is, or none: a retry asked for, or somebody else's fact.

    `value` is that of its record, and `event` what intake has made of it, of a chunk.
    """
    try:
        fact = DecisionFact.model_validate_json(value)
    except ValidationError:
        return []  # an event like any other
    if fact.change is None:
        return []
    return [{
        **fact.model_dump(include=_SAME),
        "event_id": event["event_id"],
        "recorded_at": EPOCH + timedelta(milliseconds=int(str(event["recorded_at"]))),
        "address": fact.recipient,
        "rule": fact.rule or "",
        "reason": fact.diagnostic,
        "source_topic": chunk.topic,
        "source_partition": chunk.partition,
        "source_offset": event["source_offset"],
    }]  # fmt: skip


_SAME: Final = {
    "tenant_id", "channel", "occurred_at", "change", "since", "until", "actor", "message_id",
    "cause_event_id", "rules_version",
}  # fmt: skip


def rows(lines: Sequence[Line]) -> pa.Table:
    """Return lines as rows of their table."""
    return pa.Table.from_pylist(list(lines), schema=_SCHEMA)
