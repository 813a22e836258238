"""What became of each retry: a reading of the events, which hold every decision on it."""

from __future__ import annotations

from typing import Final

from projections.tables import View
from projections.tables.events import TABLE as EVENTS
from schemas.decisions import DECISION_LABEL

_FIRST: Final = "minOrNullIf(occurred_at, {where})"
_SCHEDULED: Final = "kind = 'retry_scheduled'"
_EXHAUSTED: Final = "kind = 'retry_exhausted'"
_REQUESTED: Final = "reason_code IN ('retry_asked', 'resend_asked')"
_CANCELLED: Final = "reason_code = 'retry_cancelled'"
_SENT: Final = "kind = 'sent'"


def _first(where: str) -> str:
    return _FIRST.format(where=where)


VIEW: Final = View(
    name="retries",
    comment=(
        "one row per attempt after the first: scheduled, asked for, answered, cancelled, or the "
        "last one, with retries exhausted"
    ),
    select=f"""
SELECT tenant_id, message_id, recipient, attempt,
    multiIf(
        exhausted_at IS NOT NULL, 'exhausted', answered_at IS NOT NULL, 'answered',
        cancelled_at IS NOT NULL, 'cancelled', asked_at IS NOT NULL, 'asked', 'scheduled'
    ) AS state,
    {_first(_SCHEDULED)} AS scheduled_at,
    maxIf(due_at, {_SCHEDULED}) AS due_at,
    {_first(_REQUESTED)} AS asked_at,
    {_first(_SENT)} AS answered_at,
    {_first(_CANCELLED)} AS cancelled_at,
    {_first(_EXHAUSTED)} AS exhausted_at,
    argMaxIf(diagnostic, (kind != 'retry_scheduled', occurred_at), kind != 'sent') AS reason
FROM {{database}}.{EVENTS.name}
WHERE channel = 'email' AND (
    {_SCHEDULED} OR {_EXHAUSTED} OR ({_SENT} AND attempt > 1)
    OR (kind = 'note' AND label = '{DECISION_LABEL}' AND ({_REQUESTED} OR {_CANCELLED}))
)
GROUP BY tenant_id, message_id, recipient, attempt
""",
)
