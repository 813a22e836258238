"""The Email Log: one row per email and recipient, with its status and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from projections.column_types import STRING
from projections.expressions import (
    OPERATORS,
    Call,
    Operator,
    column,
    eager,
    either,
    first_set,
    item,
    literal,
    words,
)
from projections.folds import (
    ALWAYS,
    earliest,
    largest,
    largest_of,
    last,
    latest,
    union,
    union_of_lists,
)
from projections.tables import NO_CODES, Projection, StatusRule
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
from schemas.events import DECISION_KINDS, FINAL_CLASSES, JOINED_KIND, KINDS_BY_CHANNEL

OPERATORS.update(
    {
        "event number": Operator(
            "reinterpretAsUInt64(reverse(unhex(substring({0}, 1, 16))))",
            eager(lambda event_id: int(event_id[:16], 16)),
        ),
    }
)
_at, _kind = EVENT["occurred_at"], EVENT["kind"]
_by_machine = EVENT["machine"].is_true
_touched = _kind.is_in("open", "click")
_opened = _kind.is_in("open") & ~_by_machine
_clicked = _kind.is_in("click") & ~_by_machine
_final = _kind.is_in("bounce") & EVENT["bounce_class"].is_in(*FINAL_CLASSES)
_coded = EVENT["smtp_code"].is_nonempty | EVENT["enhanced_status"].is_nonempty
#: The first half of a fingerprint as a number: a set of them counts distinct events.
_event_number = Call("event number", EVENT["event_id"], kind="UInt64")
_soft = _kind.is_in("bounce") & ~EVENT["bounce_class"].is_in(*FINAL_CLASSES)

# ---- What the state of an email keeps of its events --------------------------------------------

sent_at = earliest("sent_at", _at, where=_kind.is_in("sent"))
delivery_at = earliest("delivery_at", _at, where=_kind.is_in("delivery"))
open_at = earliest("open_at", _at, where=_opened)
click_at = earliest("click_at", _at, where=_clicked)
machine_at = earliest("machine_at", _at, where=_touched & _by_machine)
complaint_at = earliest("complaint_at", _at, where=_kind.is_in("complaint"))
unsubscribe_at = earliest("unsubscribe_at", _at, where=_kind.is_in("unsubscribe"))
#: The last sign that it arrived: what a later attempt and a contradiction are measured by.
arrived_at = last("arrived_at", _at, where=_touched | _kind.is_in("delivery", "complaint"))
opens = union("opens", _event_number, where=_opened)
clicks = union("clicks", _event_number, where=_clicked)
attempt = largest("attempt", EVENT["attempt"], where=~_kind.is_in(*sorted(DECISION_KINDS)))
bounce = latest(
    "bounce", _at, where=_final, attempt=EVENT["attempt"], bounce_class=EVENT["bounce_class"]
)
#: Codes first, so that a failure without a code never erases an earlier code.
bounce_why = largest_of("bounce_why", where=_final, coded=_coded, at=_at, **CODES)
soft_bounce = latest("soft_bounce", _at, where=_soft, attempt=EVENT["attempt"], **CODES)
soft_attempts = union("soft_attempts", EVENT["attempt"], where=_soft)
exhausted = latest("exhausted", _at, where=_kind.is_in("retry_exhausted"), attempt=EVENT["attempt"])
retry = largest_of(
    "retry",
    where=_kind.is_in("retry_scheduled") & EVENT["due_at"].is_set,
    attempt=EVENT["attempt"],
    due_at=EVENT["due_at"].assumed_set,
)
deferral = latest("deferral", _at, where=_kind.is_in("deferral"), **CODES)
invalid = latest("invalid", _at, where=_kind.is_in("invalid"), **CODES)
skipped = latest("skipped", _at, where=_kind.is_in("skipped"), **CODES)
failure = latest("failure", _at, where=_kind.is_in("failure"), **CODES)
subject = replace(
    latest("subject", _at, where=EVENT["subject"].is_nonempty, value=EVENT["subject"]),
    uncompressed=True,
)
tags = union_of_lists("tags", EVENT["tags"])

_FOLDS: Final = (
    *SHARED_FOLDS, sent_at, delivery_at, open_at, click_at, machine_at, complaint_at,
    unsubscribe_at, arrived_at, opens, clicks, attempt, resends, bounce, bounce_why, soft_bounce,
    soft_attempts, exhausted, retry, deferral, invalid, skipped, failure, subject, tags,
)  # fmt: skip
#: New ones go to the end: a bit is known by its place.
_PRESENCE_FOLDS: Final = (
    sent_at, delivery_at, open_at, click_at, machine_at, complaint_at, unsubscribe_at, arrived_at,
    opens, clicks, resends, bounce, bounce_why, soft_bounce, soft_attempts, exhausted, deferral,
    invalid, skipped, failure, tags, campaign, own_at, joined_at,
)  # fmt: skip

# ---- What follows from it ---------------------------------------------------------------------

_superseded = is_superseded(bounce, arrived_at)
_bounced = bounce.present & ~_superseded
_arrived = arrived_at.present
_exhausted = exhausted.present & ~_arrived

_RULES: Final = (
    StatusRule(
        status="Bounce", name="a hard or block bounce that no later delivered attempt superseded",
        when=_bounced, why=codes_of(bounce_why),
    ),
    StatusRule(
        status="Bounce", name="retries are used up and nothing was delivered", when=_exhausted,
        reason=words(
            "soft bounces:", soft_attempts.state.size.text, "of", attempt.state.text,
            "attempts used",
        ),
        why=codes_of(soft_bounce),
    ),
    StatusRule(
        status="Click", name="a click by a person", when=click_at.present,
        reason=literal("a person clicked"),
    ),
    StatusRule(
        status="Open", name="an open by a person", when=open_at.present,
        reason=literal("a person opened it"),
    ),
    StatusRule(
        status="Delivery", name="opened by a machine only, which implies a delivery",
        when=machine_at.present,
        reason=literal("in the mailbox; opened by a machine only"),
    ),
    StatusRule(
        status="Delivery", name="delivered, or implied by a complaint", when=_arrived,
        reason=literal("in the mailbox, not opened"),
    ),
    StatusRule(
        status="Invalid", name="refused because the address is on a blacklist",
        when=invalid.present, reason=literal("refused, blacklisted"), why=codes_of(invalid),
    ),
    StatusRule(
        status="Skipped", name="refused because of an opt-out", when=skipped.present,
        reason=literal("skipped, opted out"), why=codes_of(skipped),
    ),
    StatusRule(
        status="Bounce", name="refused before sending for another cause", when=failure.present,
        reason=literal("not sent"), why=codes_of(failure),
    ),
    StatusRule(
        status="Sent", name="softly bounced, with retries left", when=soft_bounce.present,
        reason=words("soft bounce of attempt", soft_bounce["attempt"].text),
        why=codes_of(soft_bounce),
    ),
    StatusRule(
        status="Sent", name="deferred: the provider goes on trying", when=deferral.present,
        reason=literal("deferred"), why=codes_of(deferral),
    ),
    StatusRule(
        status="Sent", name="sent, and nothing heard since", when=sent_at.present,
        reason=literal("handed to the provider"),
    ),
    StatusRule(
        status="Sent", name="anything else", when=ALWAYS, reason=literal("in the queue"),
    ),
)  # fmt: skip

#: Of the rule that decided; where that has none, of the last soft bounce.
_why = column("why", NO_CODES.kind)
_codes = either(
    item(_why, "smtp_code").is_nonempty | item(_why, "enhanced_status").is_nonempty
    | item(_why, "reason_code").is_nonempty | item(_why, "diagnostic").is_nonempty,
    _why, codes_of(soft_bounce),
)  # fmt: skip
_COLUMNS: Final = {
    "tenant_id": column("tenant_id", STRING),
    "date": first_at.state,
    "recipient": column("recipient", STRING),
    "subject": subject["value"],
    "status": column("status", STRING),
    "status_reason": column("status_reason", STRING),
    "message_id": column("message_id", STRING),
    "record_type": record["type"],
    "record_id": record["id"],
    "campaign": campaign["value"],
    "tags": tags.state.in_order,
    "provider": sender["provider"],
    "provider_message_id": sender["id"],
    "sent_at": sent_at.state,
    "delivered_at": first_set(
        delivery_at.state, open_at.state, click_at.state, machine_at.state, complaint_at.state
    ),
    "delivered_inferred": _arrived & ~delivery_at.present,
    "opened_at": first_set(open_at.state, click_at.state),
    "opened_inferred": click_at.present & ~open_at.present,
    "clicked_at": click_at.state,
    "machine_opened_at": machine_at.state,
    "complained_at": complaint_at.state,
    "unsubscribed_at": unsubscribe_at.state,
    "bounced_at": either(_bounced, bounce["at"], literal(None)),
    "bounce_class": either(
        _bounced, bounce["bounce_class"],
        either(soft_bounce.present, literal("soft"), literal("")),
    ),
    "smtp_code": item(_codes, "smtp_code"),
    "enhanced_status": item(_codes, "enhanced_status"),
    "reason_code": item(_codes, "reason_code"),
    "diagnostic": item(_codes, "diagnostic"),
    "open_count": opens.state.size,
    "click_count": clicks.state.size,
    "soft_bounce_count": soft_attempts.state.size,
    "attempts": attempt.state,
    "next_retry_at": either(
        (retry["attempt"] > attempt.state) & ~_arrived & ~_bounced & ~_exhausted,
        retry["due_at"], literal(None),
    ),
    "conflict": (_bounced & (arrived_at.state > bounce["at"]))
    | ((invalid.present | skipped.present | failure.present) & _arrived),
    "last_event_at": last_at.state,
    "first_recorded_at": first_recorded_at.state,
}  # fmt: skip

PROJECTION: Final = Projection(
    name="email_log",
    comment="one row per email and recipient, with its status and why",
    channel="email",
    kinds=KINDS_BY_CHANNEL["email"] - {"note", "resubscribe", "suppressed", "reinstated"}
    | {JOINED_KIND},
    folds=_FOLDS,
    rules=_RULES,
    presence_folds=_PRESENCE_FOLDS,
    begin_fold=sent_at,
    late_folds=(delivery_at, open_at, click_at, machine_at, complaint_at, unsubscribe_at, bounce),
    hidden=HIDDEN,
    columns=_COLUMNS,
)
