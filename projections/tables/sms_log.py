"""The SMS Log: one row per SMS and number, with its status and why."""

from __future__ import annotations

from typing import Final

from projections.column_types import STRING
from projections.expressions import column, either, first_nonempty, first_set, literal
from projections.folds import ALWAYS, Fold, earliest, largest, largest_of, latest
from projections.tables import Projection, StatusRule
from projections.tables.events import TABLE as EVENT
from projections.tables.shared import (
    CODES,
    SHARED_FOLDS,
    campaign,
    codes_of,
    first_at,
    first_recorded_at,
    last_at,
    record,
    sender,
)
from schemas.events import KINDS_BY_CHANNEL

_at, _kind = EVENT["occurred_at"], EVENT["kind"]
_delivered = _kind.is_in("delivery")


def _failure(name: str, *kinds: str) -> Fold:
    """Keep why it failed; codes first, for a failure without one never erases an earlier code."""
    return largest_of(
        name, where=_kind.is_in(*kinds), coded=EVENT["reason_code"].is_nonempty, at=_at, **CODES
    )


# ---- What the state of an SMS keeps of its events ----------------------------------------------

sent_at = earliest("sent_at", _at, where=_kind.is_in("sent"))
delivery_at = earliest("delivery_at", _at, where=_delivered & ~EVENT["handset"].is_false)
handset_at = earliest("handset_at", _at, where=_delivered & EVENT["handset"].is_true)
operator_at = earliest("operator_at", _at, where=_delivered & EVENT["handset"].is_false)
read_at = earliest("read_at", _at, where=_kind.is_in("read"))
expired_at = earliest("expired_at", _at, where=_kind.is_in("expired"))
rejected = _failure("rejected", "rejected")
undelivered = _failure("undelivered", "undelivered")
expired = _failure("expired", "expired")
failed = _failure("failed", "failed")
opt_out = _failure("opt_out", "opt_out")
parts = largest("parts", EVENT["parts"])
part = largest("part", EVENT["part"])
text = latest("text", _at, where=EVENT["text"].is_nonempty, value=EVENT["text"])

_FOLDS: Final = (
    *SHARED_FOLDS, sent_at, delivery_at, handset_at, operator_at, read_at, expired_at,
    rejected, undelivered, expired, failed, opt_out, parts, part, text,
)  # fmt: skip
#: New ones go to the end: a bit is known by its place.
_PRESENCE_FOLDS: Final = (
    sent_at, delivery_at, handset_at, operator_at, read_at, expired_at, rejected, undelivered,
    expired, failed, opt_out, campaign,
)  # fmt: skip

# ---- What follows from it ---------------------------------------------------------------------

_segments = (parts.state > literal(1)) | (part.state > literal(1))
#: Of a single segment, `expired` at or after `delivery` is noise.
_expired = expired_at.present & (
    _segments | ~delivery_at.present | (expired_at.state < delivery_at.state)
)


_RULES: Final = (
    StatusRule(
        status="Rejected", name="stopped at carrier level", when=rejected.present,
        reason=literal("stopped by the carrier"), why=codes_of(rejected),
    ),
    StatusRule(
        status="Undelivered", name="the number is wrong, unsuitable or out of reach",
        when=undelivered.present, reason=literal("number wrong, unsuitable or out of reach"),
        why=codes_of(undelivered),
    ),
    StatusRule(
        status="Undelivered", name="it expired before it was delivered", when=_expired,
        reason=literal("expired before it was delivered"), why=codes_of(expired),
    ),
    StatusRule(
        status="Failed", name="the provider could not send it", when=failed.present,
        reason=literal("the provider could not send it"), why=codes_of(failed),
    ),
    StatusRule(
        status="Failed", name="refused because the recipient opted out", when=opt_out.present,
        reason=literal("opted out"), why=codes_of(opt_out),
    ),
    StatusRule(
        status="Received", name="received and read", when=read_at.present,
        reason=literal("received and read"),
    ),
    StatusRule(
        status="Delivered", name="the handset confirmed it", when=handset_at.present,
        reason=literal("the handset confirmed it"),
    ),
    StatusRule(
        status="Delivered", name="delivered; nobody says whether to the handset",
        when=delivery_at.present, reason=literal("delivered, not read"),
    ),
    StatusRule(
        status="Sent", name="the operator confirmed it, the handset has not",
        when=operator_at.present,
        reason=literal("the operator has it; the handset has not confirmed it"),
    ),
    StatusRule(
        status="Sent", name="handed to the carrier", when=sent_at.present,
        reason=literal("handed to the carrier"),
    ),
    StatusRule(
        status="Queued", name="anything else", when=ALWAYS,
        reason=literal("queued for delivery"),
    ),
)  # fmt: skip

_any_failure = (
    rejected.present | undelivered.present | _expired | failed.present
    | opt_out.present
)  # fmt: skip
_FAILURES: Final = (rejected, undelivered, expired, failed, opt_out)
_REASON_COLUMNS: Final = ("reason_code", "diagnostic")
_COLUMNS: Final = {
    "tenant_id": column("tenant_id", STRING),
    "date": first_at.state,
    "recipient": column("recipient", STRING),
    "text": text["value"],
    "status": column("status", STRING),
    "status_reason": column("status_reason", STRING),
    "message_id": column("message_id", STRING),
    "record_type": record["type"],
    "record_id": record["id"],
    "campaign": campaign["value"],
    "provider": sender["provider"],
    "provider_message_id": sender["id"],
    "sent_at": sent_at.state,
    "delivered_at": first_set(delivery_at.state, read_at.state),
    "delivered_inferred": read_at.present & ~delivery_at.present,
    "read_at": read_at.state,
    "handset": either(
        handset_at.present | (operator_at.present & ~delivery_at.present),
        handset_at.present, literal(None),
    ),
    **{name: first_nonempty(*(fold[name] for fold in _FAILURES)) for name in _REASON_COLUMNS},
    "parts": either(part.state > parts.state, part.state, parts.state),
    "conflict": _any_failure & (delivery_at.present | read_at.present) & ~_segments,
    "last_event_at": last_at.state,
    "first_recorded_at": first_recorded_at.state,
}  # fmt: skip

PROJECTION: Final = Projection(
    name="sms_log",
    comment="one row per SMS and number, with its status and why",
    channel="sms",
    kinds=KINDS_BY_CHANNEL["sms"] - {"note", "skipped", "suppressed", "reinstated"},
    folds=_FOLDS,
    rules=_RULES,
    presence_folds=_PRESENCE_FOLDS,
    begin_fold=sent_at,
    late_folds=(delivery_at, handset_at, operator_at, read_at, expired_at, undelivered),
    columns=_COLUMNS,
)
