"""The SMS Log: one row per SMS and number, with its status and why."""

from __future__ import annotations

from typing import Final

from projections.column_types import STRING
from projections.expressions import (
    OPERATORS,
    Call,
    Expression,
    Operator,
    column,
    eager,
    either,
    first_nonempty,
    first_set,
    literal,
    words,
)
from projections.folds import ALWAYS, Fold, earliest, largest, largest_of, last, latest, union
from projections.tables import Projection, StatusRule
from projections.tables.events import TABLE as EVENT
from projections.tables.shared import (
    CODES,
    HIDDEN,
    SHARED_FOLDS,
    campaign,
    codes_of,
    first_at,
    first_recorded_at,
    is_superseded,
    joined_at,
    last_at,
    own_at,
    record,
    resends,
    sender,
)
from schemas.events import JOINED_KIND, KINDS_BY_CHANNEL

OPERATORS.update(
    {
        # Part 0 is that of a report that names none.
        "all parts": Operator(
            "(has({0}, 0) OR length({0}) >= {1})",
            eager(lambda parts, count: 0 in parts or len(parts) >= count),
        ),
        "covers": Operator(
            "(notEmpty({1}) AND hasAll({0}, {1}))",
            eager(lambda parts, others: bool(others) and set(parts) >= set(others)),
            needs=(0, 1),
        ),
    }
)
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
#: A report that names no part is about all of them: only after one that does, others are missing.
part_delivery_at = earliest(
    "part_delivery_at",
    _at,
    where=_delivered & ~EVENT["handset"].is_false & EVENT["part"].is_nonempty,
)
delivered_parts = union(
    "delivered_parts", EVENT["part"], where=_delivered & ~EVENT["handset"].is_false
)
handset_parts = union("handset_parts", EVENT["part"], where=_delivered & EVENT["handset"].is_true)
undelivered_parts = union("undelivered_parts", EVENT["part"], where=_kind.is_in("undelivered"))
expired_parts = union("expired_parts", EVENT["part"], where=_kind.is_in("expired"))
#: The last failure and the last sign of arrival: what a later attempt is measured by.
failure = latest(
    "failure", _at, attempt=EVENT["attempt"],
    where=_kind.is_in("rejected", "undelivered", "expired", "failed", "opt_out"),
)  # fmt: skip
arrived_at = last(
    "arrived_at", _at, where=(_delivered & ~EVENT["handset"].is_false) | _kind.is_in("read")
)
text = latest("text", _at, where=EVENT["text"].is_nonempty, value=EVENT["text"])

_FOLDS: Final = (
    *SHARED_FOLDS, sent_at, delivery_at, handset_at, operator_at, read_at, expired_at,
    rejected, undelivered, expired, failed, opt_out, parts, part, text, part_delivery_at,
    delivered_parts, handset_parts, undelivered_parts, expired_parts, failure, resends, arrived_at,
)  # fmt: skip
#: New ones go to the end: a bit is known by its place.
_PRESENCE_FOLDS: Final = (
    sent_at, delivery_at, handset_at, operator_at, read_at, expired_at, rejected, undelivered,
    expired, failed, opt_out, campaign, part_delivery_at, delivered_parts, handset_parts,
    undelivered_parts, expired_parts, resends, arrived_at, own_at, joined_at,
)  # fmt: skip

# ---- What follows from it ---------------------------------------------------------------------

_part_count = either(part.state > parts.state, part.state, parts.state)
_segments = (parts.state > literal(1)) | (part.state > literal(1))
_superseded = is_superseded(failure, arrived_at)


def _stands(failed: Fold) -> Expression:
    """Return whether a failure holds: no later attempt has arrived."""
    return failed.present & ~_superseded


def _confirmed(failed_parts: Fold) -> Expression:
    """Return whether the handset has confirmed every part of which a failure was reported."""
    return Call("covers", handset_parts.state, failed_parts.state)


def _all_parts(confirmed_parts: Fold) -> Expression:
    """Return whether all parts are, of all that are known."""
    return ~part_delivery_at.present | Call("all parts", confirmed_parts.state, _part_count)


_undelivered = _stands(undelivered) & ~_confirmed(undelivered_parts)
#: Of a single part, `expired` at or after `delivery` is noise.
_expired = (
    _stands(expired)
    & ~_confirmed(expired_parts)
    & (_segments | ~delivery_at.present | (expired_at.state < delivery_at.state))
)
_arrived = delivery_at.present & _all_parts(delivered_parts)


_RULES: Final = (
    StatusRule(
        status="Rejected", name="stopped at carrier level", when=_stands(rejected),
        reason=literal("stopped by the carrier"), why=codes_of(rejected),
    ),
    StatusRule(
        status="Undelivered", name="the number is wrong, unsuitable or out of reach",
        when=_undelivered, reason=literal("number wrong, unsuitable or out of reach"),
        why=codes_of(undelivered),
    ),
    StatusRule(
        status="Undelivered", name="it expired before it was delivered", when=_expired,
        reason=literal("expired before it was delivered"), why=codes_of(expired),
    ),
    StatusRule(
        status="Failed", name="the provider could not send it", when=_stands(failed),
        reason=literal("the provider could not send it"), why=codes_of(failed),
    ),
    StatusRule(
        status="Failed", name="refused because the recipient opted out", when=_stands(opt_out),
        reason=literal("opted out"), why=codes_of(opt_out),
    ),
    StatusRule(
        status="Received", name="received and read", when=read_at.present,
        reason=literal("received and read"),
    ),
    StatusRule(
        status="Delivered", name="the handset confirmed it",
        when=handset_at.present & _all_parts(handset_parts),
        reason=literal("the handset confirmed it"),
    ),
    StatusRule(
        status="Delivered", name="delivered; nobody says whether to the handset",
        when=_arrived, reason=literal("delivered, not read"),
    ),
    StatusRule(
        status="Sent", name="some of its parts were delivered, others not yet",
        when=part_delivery_at.present,
        reason=words(
            delivered_parts.state.size.text, "of", _part_count.text, "parts delivered"
        ),
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

_any_failure = _stands(rejected) | _undelivered | _expired | _stands(failed) | _stands(opt_out)
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
    "delivered_at": either(
        _arrived | read_at.present, first_set(delivery_at.state, read_at.state), literal(None)
    ),
    "delivered_inferred": read_at.present & ~delivery_at.present,
    "read_at": read_at.state,
    "handset": either(
        handset_at.present | (operator_at.present & ~delivery_at.present),
        handset_at.present, literal(None),
    ),
    **{name: first_nonempty(*(fold[name] for fold in _FAILURES)) for name in _REASON_COLUMNS},
    "parts": _part_count,
    "conflict": _any_failure & (delivery_at.present | read_at.present) & ~_segments,
    "last_event_at": last_at.state,
    "first_recorded_at": first_recorded_at.state,
}  # fmt: skip

PROJECTION: Final = Projection(
    name="sms_log",
    comment="one row per SMS and number, with its status and why",
    channel="sms",
    kinds=KINDS_BY_CHANNEL["sms"] - {"note", "skipped", "suppressed", "reinstated"} | {JOINED_KIND},
    folds=_FOLDS,
    rules=_RULES,
    presence_folds=_PRESENCE_FOLDS,
    begin_fold=sent_at,
    late_folds=(delivery_at, handset_at, operator_at, read_at, expired_at, undelivered),
    hidden=HIDDEN,
    columns=_COLUMNS,
)
