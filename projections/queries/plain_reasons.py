"""The reason of a row's status in plain words, and what to do: `schemas.reasons` applied to rows.

It is computed where rows are read, and not by the engine: its tables are large, and words that get
better are at once those of all messages, without a rebuild.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.events import Channel
from schemas.reasons import Cause, default_reasons, explain_code

#: The statuses of messages that did not arrive.
FAILURE_STATUSES: Final = frozenset(
    {"Bounce", "Invalid", "Skipped", "Rejected", "Undelivered", "Failed"}
)
#: An email that is under way, although an attempt failed.
_WAITING_STATUS: Final = "Sent"
#: The columns that tell of a failed attempt.
_FAILURE_COLUMNS: Final = (
    "bounce_class", "smtp_code", "enhanced_status", "reason_code", "diagnostic",
)  # fmt: skip


class PlainReason(NamedTuple):
    """Why a message has its status, in words, and what to do; `cause` is None if nothing failed."""

    words: str
    advice: str
    cause: Cause | None


def plain_reason(channel: Channel, row: Mapping[str, Any]) -> PlainReason:
    """Return the reason of a row of a log in plain words."""
    reasons = default_reasons()
    status, status_reason = row["status"], row["status_reason"]
    is_waiting = status == _WAITING_STATUS and any(row.get(name) for name in _FAILURE_COLUMNS)
    if status in FAILURE_STATUSES or (channel == "email" and is_waiting):
        cause = _cause(channel, row, "soft" if is_waiting else row.get("bounce_class", ""))
        return PlainReason(
            cause.words, reasons.waiting_advice if is_waiting else cause.advice, cause
        )
    words = reasons.progress[channel].get(status_reason, status_reason)
    return PlainReason(words, reasons.statuses[channel][status].advice, None)


def reason_with_code(channel: Channel, row: Mapping[str, Any]) -> str:
    """Return the reason for people who also know codes, as "This number is not in use (30005)".

    An email's reason has its codes in words already, and so has what nothing explains.
    """
    cause = plain_reason(channel, row).cause
    if channel == "email" or cause is None or cause.name == "unknown":
        return str(row["status_reason"])
    code = row["reason_code"]
    return f"{cause.words} ({code})" if code else cause.words


def _cause(channel: Channel, row: Mapping[str, Any], bounce_class: str) -> Cause:
    return explain_code(
        channel, row["provider"], row["reason_code"], row.get("enhanced_status", ""),
        row.get("smtp_code"), bounce_class, diagnostic=row["diagnostic"],
        rule=row["status_reason"].partition(":")[0],
    )  # fmt: skip
