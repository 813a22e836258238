"""The SMS Log: one row per SMS and number, with its status and why."""

from __future__ import annotations

from typing import Final

from projections.expressions import (
    column,
    either,
    first_given,
    first_set,
    literal,
)
from projections.folds import Fold, earliest, largest, largest_of, latest
from projections.tables import Projection, Rule
from projections.tables.events import TABLE as FACT
from projections.tables.shared import (
    CODES,
    campaign,
    codes_of,
    first_at,
    first_recorded_at,
    last_at,
    record,
    sender,
)
from projections.tables.shared import FOLDS as SHARED_FOLDS
from schemas.events import KINDS

_at, _kind = FACT.occurred_at, FACT.kind
_delivered = _kind.is_in("delivery")


def _failure(name: str, *kinds: str) -> Fold:
    """Keep why it failed; codes first, for a failure without one never erases an earlier code."""
    return largest_of(
        name, where=_kind.is_in(*kinds), coded=FACT.reason_code.given, at=_at, **CODES
    )


# ---- What the state of an SMS keeps of its facts ----------------------------------------------

sent_at = earliest("sent_at", _at, where=_kind.is_in("sent"))
delivery_at = earliest("delivery_at", _at, where=_delivered & ~FACT.handset.is_false)
handset_at = earliest("handset_at", _at, where=_delivered & FACT.handset.is_true)
operator_at = earliest("operator_at", _at, where=_delivered & FACT.handset.is_false)
read_at = earliest("read_at", _at, where=_kind.is_in("read"))
expired_at = earliest("expired_at", _at, where=_kind.is_in("expired"))
rejected = _failure("rejected", "rejected")
undelivered = _failure("undelivered", "undelivered")
expired = _failure("expired", "expired")
failed = _failure("failed", "failed")
opt_out = _failure("opt_out", "opt_out")
parts = largest("parts", FACT.parts)
part = largest("part", FACT.part)
text = latest("text", _at, where=FACT.text.given, value=FACT.text)

FOLDS: Final = (
    *SHARED_FOLDS, sent_at, delivery_at, handset_at, operator_at, read_at, expired_at,
    rejected, undelivered, expired, failed, opt_out, parts, part, text,
)  # fmt: skip
#: New ones go to the end: a bit is known by its place.
SEEN: Final = (
    sent_at, delivery_at, handset_at, operator_at, read_at, expired_at, rejected, undelivered,
    expired, failed, opt_out, campaign,
)  # fmt: skip

# ---- What follows from it ---------------------------------------------------------------------

_segments = (parts.state > literal(1)) | (part.state > literal(1))
#: Of a single segment, `expired` at or after `delivery` is noise.
_expired = expired_at.seen & (
    _segments | ~delivery_at.seen | (expired_at.state < delivery_at.state)
)


RULES: Final = (
    Rule(
        status="Rejected", name="stopped at carrier level", when=rejected.seen,
        reason=literal("stopped by the carrier"), why=codes_of(rejected), trace=rejected.seen,
    ),
    Rule(
        status="Undelivered", name="the number is wrong, unsuitable or out of reach",
        when=undelivered.seen, reason=literal("number wrong, unsuitable or out of reach"),
        why=codes_of(undelivered), trace=undelivered.seen,
    ),
    Rule(
        status="Undelivered", name="it expired before it was delivered", when=_expired,
        reason=literal("expired before it was delivered"), why=codes_of(expired),
        trace=expired_at.seen,
    ),
    Rule(
        status="Failed", name="the provider could not send it", when=failed.seen,
        reason=literal("the provider could not send it"), why=codes_of(failed),
        trace=failed.seen,
    ),
    Rule(
        status="Failed", name="refused because the recipient opted out", when=opt_out.seen,
        reason=literal("opted out"), why=codes_of(opt_out), trace=opt_out.seen,
    ),
    Rule(
        status="Received", name="received and read", when=read_at.seen,
        reason=literal("received and read"),
    ),
    Rule(
        status="Delivered", name="the handset confirmed it", when=handset_at.seen,
        reason=literal("the handset confirmed it"),
    ),
    Rule(
        status="Delivered", name="delivered; nobody says whether to the handset",
        when=delivery_at.seen, reason=literal("delivered, not read"),
    ),
    Rule(
        status="Sent", name="the operator confirmed it, the handset has not",
        when=operator_at.seen,
        reason=literal("the operator has it; the handset has not confirmed it"),
    ),
    Rule(
        status="Sent", name="handed to the carrier", when=sent_at.seen,
        reason=literal("handed to the carrier"),
    ),
    Rule(
        status="Queued", name="anything else", when=literal(value=True),
        reason=literal("queued for delivery"),
    ),
)  # fmt: skip

_text = "String"
_any_failure = (
    rejected.seen | undelivered.seen | _expired | failed.seen
    | opt_out.seen
)  # fmt: skip
_codes = ("reason_code", "diagnostic")
READINGS: Final = {
    "tenant_id": column("tenant_id", _text),
    "date": first_at.state,
    "recipient": column("recipient", _text),
    "text": text["value"],
    "status": column("status", _text),
    "status_reason": column("status_reason", _text),
    "message_id": column("message_id", _text),
    "record_type": record["type"],
    "record_id": record["id"],
    "campaign": campaign["value"],
    "provider": sender["provider"],
    "provider_message_id": sender["id"],
    "sent_at": sent_at.state,
    "delivered_at": first_set(delivery_at.state, read_at.state),
    "delivered_inferred": read_at.seen & ~delivery_at.seen,
    "read_at": read_at.state,
    "handset": either(
        handset_at.seen | (operator_at.seen & ~delivery_at.seen),
        handset_at.seen, literal(None),
    ),
    **{
        name: first_given(*(f[name] for f in (rejected, undelivered, expired, failed, opt_out)))
        for name in _codes
    },
    "parts": either(part.state > parts.state, part.state, parts.state),
    "conflict": _any_failure & (delivery_at.seen | read_at.seen) & ~_segments,
    "last_event_at": last_at.state,
    "first_recorded_at": first_recorded_at.state,
}  # fmt: skip

PROJECTION: Final = Projection(
    name="sms_log",
    comment="one row per SMS and number, with its status and why",
    channel="sms",
    kinds=KINDS["sms"] - {"note", "skipped", "suppressed", "reinstated"},
    folds=FOLDS,
    rules=RULES,
    seen=SEEN,
    unsure=expired_at.seen & delivery_at.seen,  # which of both counts?
    sent_at=sent_at,
    later=(delivery_at, handset_at, operator_at, read_at, expired_at, undelivered),
    readings=READINGS,
)
