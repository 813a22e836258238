"""The Email Log: one row per email and recipient, with its status and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from projections.expressions import (
    column,
    either,
    event_number,
    first_set,
    item,
    literal,
    resent_and_delivered,
    together,
    words,
)
from projections.folds import earliest, largest, largest_of, last, latest, union, union_of_lists
from projections.tables import NO_CODES, Projection, Rule
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
from schemas.events import DECISIONS, KINDS

_at, _kind = FACT.occurred_at, FACT.kind
_by_machine = FACT.machine.is_true
_touched = _kind.is_in("open", "click")
_opened = _kind.is_in("open") & ~_by_machine
_clicked = _kind.is_in("click") & ~_by_machine
_final = _kind.is_in("bounce") & FACT.bounce_class.is_in("hard", "block")
_coded = FACT.smtp_code.given | FACT.enhanced_status.given
_soft = _kind.is_in("bounce") & ~FACT.bounce_class.is_in("hard", "block")

# ---- What the state of an email keeps of its facts --------------------------------------------

sent_at = earliest("sent_at", _at, where=_kind.is_in("sent"))
delivery_at = earliest("delivery_at", _at, where=_kind.is_in("delivery"))
open_at = earliest("open_at", _at, where=_opened)
click_at = earliest("click_at", _at, where=_clicked)
machine_at = earliest("machine_at", _at, where=_touched & _by_machine)
complaint_at = earliest("complaint_at", _at, where=_kind.is_in("complaint"))
unsubscribe_at = earliest("unsubscribe_at", _at, where=_kind.is_in("unsubscribe"))
#: The last sign that it arrived: what a later attempt and a contradiction are measured by.
arrived_at = last("arrived_at", _at, where=_touched | _kind.is_in("delivery", "complaint"))
opens = union("opens", event_number(FACT.event_id), where=_opened)
clicks = union("clicks", event_number(FACT.event_id), where=_clicked)
attempt = largest("attempt", FACT.attempt, where=~_kind.is_in(*sorted(DECISIONS)))
resends = union(
    "resends",
    together(attempt=FACT.attempt, at=_at),
    where=_kind.is_in("sent") & (FACT.attempt > literal(1)),
)
bounce = latest("bounce", _at, where=_final, attempt=FACT.attempt, bounce_class=FACT.bounce_class)
#: Codes first, so that a failure without a code never erases an earlier code.
bounce_why = largest_of("bounce_why", where=_final, coded=_coded, at=_at, **CODES)
soft_bounce = latest("soft_bounce", _at, where=_soft, attempt=FACT.attempt, **CODES)
soft_attempts = union("soft_attempts", FACT.attempt, where=_soft)
exhausted = latest("exhausted", _at, where=_kind.is_in("retry_exhausted"), attempt=FACT.attempt)
retry = largest_of(
    "retry",
    where=_kind.is_in("retry_scheduled") & FACT.due_at.is_set,
    attempt=FACT.attempt,
    due_at=FACT.due_at.present,
)
deferral = latest("deferral", _at, where=_kind.is_in("deferral"), **CODES)
invalid = latest("invalid", _at, where=_kind.is_in("invalid"), **CODES)
skipped = latest("skipped", _at, where=_kind.is_in("skipped"), **CODES)
failure = latest("failure", _at, where=_kind.is_in("failure"), **CODES)
subject = replace(
    latest("subject", _at, where=FACT.subject.given, value=FACT.subject), uncompressed=True
)
tags = union_of_lists("tags", FACT.tags)

FOLDS: Final = (
    *SHARED_FOLDS, sent_at, delivery_at, open_at, click_at, machine_at, complaint_at,
    unsubscribe_at, arrived_at, opens, clicks, attempt, resends, bounce, bounce_why, soft_bounce,
    soft_attempts, exhausted, retry, deferral, invalid, skipped, failure, subject, tags,
)  # fmt: skip
#: New ones go to the end: a bit is known by its place.
SEEN: Final = (
    sent_at, delivery_at, open_at, click_at, machine_at, complaint_at, unsubscribe_at, arrived_at,
    opens, clicks, resends, bounce, bounce_why, soft_bounce, soft_attempts, exhausted, deferral,
    invalid, skipped, failure, tags, campaign,
)  # fmt: skip

# ---- What follows from it ---------------------------------------------------------------------

_superseded = resent_and_delivered(resends.state, bounce["attempt"], bounce["at"], arrived_at.state)
_bounced = bounce.seen & ~_superseded
_arrived = arrived_at.seen
_exhausted = exhausted.seen & ~_arrived
#: Of what never arrived, neither a bounce is superseded nor are retries used up to no end.
_pending = (
    ~_arrived & ~bounce.seen & ~exhausted.seen & ~invalid.seen & ~skipped.seen & ~failure.seen
)


ALWAYS = literal(value=True)
RULES: Final = (
    Rule(
        status="Bounce", name="a hard or block bounce that no later delivered attempt superseded",
        when=_bounced, why=codes_of(bounce_why), trace=bounce.seen,
    ),
    Rule(
        status="Bounce", name="retries are used up and nothing was delivered", when=_exhausted,
        trace=exhausted.seen,
        reason=words(
            "soft bounces:", soft_attempts.state.size.text, "of", attempt.state.text,
            "attempts used",
        ),
        why=codes_of(soft_bounce),
    ),
    Rule(
        status="Click", name="a click by a person", when=click_at.seen,
        reason=literal("a person clicked"),
    ),
    Rule(
        status="Open", name="an open by a person", when=open_at.seen,
        reason=literal("a person opened it"),
    ),
    Rule(
        status="Delivery", name="opened by a machine only, which implies a delivery",
        when=machine_at.seen,
        reason=literal("in the mailbox; opened by a machine only"),
    ),
    Rule(
        status="Delivery", name="delivered, or implied by a complaint", when=_arrived,
        reason=literal("in the mailbox, not opened"),
    ),
    Rule(
        status="Invalid", name="refused because the address is on a blacklist",
        when=invalid.seen, reason=literal("refused, blacklisted"), why=codes_of(invalid),
        trace=invalid.seen,
    ),
    Rule(
        status="Skipped", name="refused because of an opt-out", when=skipped.seen,
        reason=literal("skipped, opted out"), why=codes_of(skipped),
        trace=skipped.seen,
    ),
    Rule(
        status="Bounce", name="refused before sending for another cause", when=failure.seen,
        reason=literal("not sent"), why=codes_of(failure),
        trace=failure.seen,
    ),
    Rule(
        status="Sent", name="softly bounced, with retries left", when=soft_bounce.seen,
        reason=words("soft bounce of attempt", soft_bounce["attempt"].text),
        why=codes_of(soft_bounce), trace=_pending,
    ),
    Rule(
        status="Sent", name="deferred: the provider goes on trying", when=deferral.seen,
        reason=literal("deferred"), why=codes_of(deferral),
        trace=_pending,
    ),
    Rule(
        status="Sent", name="sent, and nothing heard since", when=sent_at.seen,
        reason=literal("handed to the provider"), trace=_pending,
    ),
    Rule(
        status="Sent", name="anything else", when=ALWAYS, reason=literal("in the queue"),
        trace=_pending,
    ),
)  # fmt: skip

_text = "String"
#: Of the rule that decided; where that has none, of the last soft bounce.
_why = column("why", NO_CODES.kind)
_codes = either(
    item(_why, "smtp_code").given | item(_why, "enhanced_status").given
    | item(_why, "reason_code").given | item(_why, "diagnostic").given,
    _why, codes_of(soft_bounce),
)  # fmt: skip
READINGS: Final = {
    "tenant_id": column("tenant_id", _text),
    "date": first_at.state,
    "recipient": column("recipient", _text),
    "subject": subject["value"],
    "status": column("status", _text),
    "status_reason": column("status_reason", _text),
    "message_id": column("message_id", _text),
    "record_type": record["type"],
    "record_id": record["id"],
    "campaign": campaign["value"],
    "tags": tags.state.ordered,
    "provider": sender["provider"],
    "provider_message_id": sender["id"],
    "sent_at": sent_at.state,
    "delivered_at": first_set(
        delivery_at.state, open_at.state, click_at.state, machine_at.state, complaint_at.state
    ),
    "delivered_inferred": _arrived & ~delivery_at.seen,
    "opened_at": first_set(open_at.state, click_at.state),
    "opened_inferred": click_at.seen & ~open_at.seen,
    "clicked_at": click_at.state,
    "machine_opened_at": machine_at.state,
    "complained_at": complaint_at.state,
    "unsubscribed_at": unsubscribe_at.state,
    "bounced_at": either(_bounced, bounce["at"], literal(None)),
    "bounce_class": either(
        _bounced, bounce["bounce_class"],
        either(soft_bounce.seen, literal("soft"), literal("")),
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
    | ((invalid.seen | skipped.seen | failure.seen) & _arrived),
    "last_event_at": last_at.state,
    "first_recorded_at": first_recorded_at.state,
}  # fmt: skip

PROJECTION: Final = Projection(
    name="email_log",
    comment="one row per email and recipient, with its status and why",
    channel="email",
    kinds=KINDS["email"] - {"note", "resubscribe", "suppressed", "reinstated"},
    folds=FOLDS,
    rules=RULES,
    seen=SEEN,
    unsure=bounce.seen & resends.seen & arrived_at.seen,  # was it superseded?
    sent_at=sent_at,
    later=(delivery_at, open_at, click_at, machine_at, complaint_at, unsubscribe_at, bounce),
    readings=READINGS,
)
