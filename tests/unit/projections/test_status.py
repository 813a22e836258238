"""The status rules, by example: what the log says, whatever order the facts come in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from projections.status import explain, fold_message, read_row
from projections.tables import projections
from projections.witness import witness
from schemas.events import fingerprint

START = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
KEY = {"tenant_id": "t", "recipient": "r", "message_id": "m"}


def fact(kind, minute, **fields):
    event = {**KEY, "kind": kind, "occurred_at": START + timedelta(minutes=minute), **fields}
    event["recorded_at"] = event["occurred_at"]
    event["event_id"] = fingerprint({**event, "channel": "email"})
    return event


def row(log, *facts):
    """Return the row of the facts, the same for every order of them."""
    projection = projections()[log]
    rows = [
        read_row(projection, KEY, fold_message(projection, order))
        for order in permutations(facts, len(facts))
    ]
    assert all(one == rows[0] for one in rows)
    return rows[0]


HARD = {"bounce_class": "hard", "smtp_code": 550, "enhanced_status": "5.1.1"}
SOFT = {"bounce_class": "soft", "smtp_code": 452, "enhanced_status": "4.2.2"}

EMAILS = {
    "queued": ([("queued", 0, {})], "Sent", "in the queue"),
    "sent": ([("queued", 0, {}), ("sent", 1, {})], "Sent", "handed to the provider"),
    "deferred": (
        [("sent", 0, {}), ("deferral", 1, {"diagnostic": "451 try later"})],
        "Sent", "deferred: 451 try later",
    ),
    "softly bounced": (
        [("sent", 0, {}), ("bounce", 1, SOFT)],
        "Sent", "soft bounce of attempt 1: 452 4.2.2 mailbox full",
    ),
    "undetermined is soft": ([("bounce", 1, {"bounce_class": "undetermined"})], "Sent", None),
    "retries used up": (
        [("sent", 0, {}), ("bounce", 1, SOFT), ("sent", 2, {"attempt": 2}),
         ("bounce", 3, {**SOFT, "attempt": 2}), ("retry_exhausted", 4, {"attempt": 2})],
        "Bounce", "soft bounces: 2 of 2 attempts used: 452 4.2.2 mailbox full",
    ),
    "retries used up but delivered": (
        [("retry_exhausted", 1, {}), ("delivery", 2, {})], "Delivery", None,
    ),
    "delivered": ([("delivery", 1, {})], "Delivery", "in the mailbox, not opened"),
    "opened by a machine": (
        [("delivery", 1, {}), ("open", 2, {"machine": True})],
        "Delivery", "in the mailbox; opened by a machine only",
    ),
    "clicked by a machine": ([("click", 2, {"machine": True})], "Delivery", None),
    "opened": ([("delivery", 1, {}), ("open", 2, {})], "Open", "a person opened it"),
    "clicked without an open": ([("click", 2, {})], "Click", "a person clicked"),
    "complained implies delivered": ([("complaint", 2, {})], "Delivery", None),
    "hard bounce": (
        [("sent", 0, {}), ("bounce", 1, HARD)], "Bounce", "550 5.1.1 mailbox does not exist",
    ),
    "block": ([("bounce", 1, {"bounce_class": "block"})], "Bounce", None),
    "late bounce after a click": (
        [("delivery", 1, {}), ("click", 2, {}), ("bounce", 9, HARD)], "Bounce", None,
    ),
    "late delivery does not erase a bounce": (
        [("sent", 0, {}), ("bounce", 1, HARD), ("delivery", 2, {})], "Bounce", None,
    ),
    "bounce superseded by a later delivered attempt": (
        [("bounce", 1, HARD), ("sent", 2, {"attempt": 2}), ("delivery", 3, {})], "Delivery", None,
    ),
    "a bounce after a later attempt was sent is not superseded by it": (
        [("sent", 1, {"attempt": 2}), ("bounce", 2, HARD), ("delivery", 3, {})], "Bounce", None,
    ),
    "a bounce of the later attempt is not superseded by its own delivery": (
        [("sent", 2, {"attempt": 2}), ("bounce", 1, {**HARD, "attempt": 2}), ("delivery", 3, {})],
        "Bounce", None,
    ),
    "a sign of arrival as the later attempt is sent is one of it": (
        [("bounce", 1, HARD), ("sent", 2, {"attempt": 2}), ("delivery", 2, {})], "Delivery", None,
    ),
    "a later attempt sent as the bounce came supersedes nothing": (
        [("bounce", 1, HARD), ("sent", 1, {"attempt": 2}), ("delivery", 3, {})], "Bounce", None,
    ),
    "later attempt without a delivery supersedes nothing": (
        [("delivery", 0, {}), ("bounce", 1, HARD), ("sent", 2, {"attempt": 2})], "Bounce", None,
    ),
    "blacklisted": (
        [("invalid", 0, {"reason_code": "Permanent/Suppressed"})],
        "Invalid", "refused, blacklisted: Permanent/Suppressed",
    ),
    "opted out": ([("skipped", 0, {})], "Skipped", "skipped, opted out"),
    "refused for another cause": (
        [("failure", 0, {"diagnostic": "Bad content"})], "Bounce", "not sent: Bad content",
    ),
    "a code is never erased by a failure without one": (
        [("bounce", 1, HARD), ("bounce", 2, {"bounce_class": "hard"})],
        "Bounce", "550 5.1.1 mailbox does not exist",
    ),
}  # fmt: skip

TEXTS = {
    "queued": ([("queued", 0, {})], "Queued", "queued for delivery"),
    "unknown overrides nothing": ([("sent", 0, {}), ("unknown", 1, {})], "Sent", None),
    "unknown alone": ([("unknown", 1, {})], "Queued", None),
    "delivered": ([("sent", 0, {}), ("delivery", 1, {})], "Delivered", "delivered, not read"),
    "delivered to the handset": (
        [("delivery", 1, {"handset": True})], "Delivered", "the handset confirmed it",
    ),
    "confirmed by the operator only": (
        [("delivery", 1, {"handset": False})],
        "Sent", "the operator has it; the handset has not confirmed it",
    ),
    "read": ([("delivery", 1, {}), ("read", 2, {})], "Received", "received and read"),
    "read alone": ([("read", 2, {})], "Received", None),
    "a late delivery does not go back": ([("read", 1, {}), ("delivery", 2, {})], "Received", None),
    "rejected": (
        [("rejected", 1, {"reason_code": "30007"})], "Rejected", "stopped by the carrier: 30007",
    ),
    "the strongest failure of any segment": (
        [("failed", 1, {"part": 1}), ("undelivered", 2, {"part": 2}), ("rejected", 3, {"part": 3})],
        "Rejected", None,
    ),
    "one segment failed": (
        [("delivery", 1, {"part": 1, "parts": 2}), ("undelivered", 2, {"part": 2, "parts": 2})],
        "Undelivered", None,
    ),
    "expired": ([("sent", 0, {}), ("expired", 1, {})], "Undelivered", None),
    "expired after delivered is noise": (
        [("delivery", 1, {}), ("expired", 2, {})], "Delivered", None,
    ),
    "expired as it was delivered is noise": (
        [("delivery", 1, {}), ("expired", 1, {})], "Delivered", None,
    ),
    "expired before it was delivered": (
        [("expired", 1, {}), ("delivery", 2, {})], "Undelivered", "expired before it was delivered",
    ),
    "expired after delivered of another segment": (
        [("delivery", 1, {"parts": 2}), ("expired", 2, {"parts": 2})], "Undelivered", None,
    ),
    "opted out": ([("opt_out", 1, {"reason_code": "21610"})], "Failed", "opted out: 21610"),
    "sent again and delivered": (
        [("undelivered", 1, {}), ("sent", 2, {"attempt": 2}), ("delivery", 3, {})],
        "Delivered", "delivered, not read",
    ),
    "sent again, and failed again": (
        [("undelivered", 1, {}), ("sent", 2, {"attempt": 2}), ("delivery", 3, {}),
         ("rejected", 4, {"attempt": 2})],
        "Rejected", None,
    ),
    "delivered before it was sent again": (
        [("delivery", 1, {}), ("undelivered", 2, {}), ("sent", 3, {"attempt": 2})],
        "Undelivered", None,
    ),
    "one of three parts is delivered": (
        [("sent", 0, {}), ("delivery", 1, {"part": 2, "parts": 3})],
        "Sent", "1 of 3 parts delivered",
    ),
    "all of three parts are delivered": (
        [("delivery", 1, {"part": each, "parts": 3}) for each in (3, 1, 2)],
        "Delivered", "delivered, not read",
    ),
    "the handset confirmed two of three parts": (
        [("delivery", 1, {"part": each, "parts": 3, "handset": each < 3 or None})
         for each in (3, 1, 2)],
        "Delivered", "delivered, not read",
    ),
    "a delivery that names no part is of all": (
        [("delivery", 1, {"parts": 3})], "Delivered", "delivered, not read",
    ),
    "a part is sent": (
        [("sent", 0, {"part": 1, "parts": 2})], "Sent", "handed to the carrier",
    ),
    "the number of parts is known later": (
        [("delivery", 1, {"part": 1}), ("queued", 2, {"parts": 2})],
        "Sent", "1 of 2 parts delivered",
    ),
    "expired, then confirmed by the handset": (
        [("expired", 1, {}), ("delivery", 2, {"handset": True})],
        "Delivered", "the handset confirmed it",
    ),
    "confirmed by the handset, then undelivered": (
        [("delivery", 1, {"handset": True}), ("undelivered", 2, {})],
        "Delivered", "the handset confirmed it",
    ),
    "undelivered, then delivered as the operator says": (
        [("undelivered", 1, {}), ("delivery", 2, {})], "Undelivered", None,
    ),
    "the handset confirmed another part than expired": (
        [("delivery", 1, {"part": 1, "parts": 2, "handset": True}),
         ("expired", 2, {"part": 2, "parts": 2})],
        "Undelivered", None,
    ),
    "the handset confirmed the part that expired, and the other": (
        [("delivery", each, {"part": each, "parts": 2, "handset": True}) for each in (1, 2)]
        + [("expired", 3, {"part": 2, "parts": 2})],
        "Delivered", "the handset confirmed it",
    ),
}  # fmt: skip


def cases(log, table):
    return [pytest.param(log, *case, id=f"{log}: {name}") for name, case in table.items()]


@pytest.mark.parametrize(
    ("log", "story", "status", "reason"), cases("email_log", EMAILS) + cases("sms_log", TEXTS)
)
def test_a_story_has_its_status_and_reason_in_any_order(log, story, status, reason):
    got = row(log, *(fact(kind, minute, **fields) for kind, minute, fields in story))
    assert got["status"] == status
    if reason is not None:
        assert got["status_reason"] == reason


@pytest.mark.parametrize(
    ("log", "story", "status", "reason"), cases("email_log", EMAILS) + cases("sms_log", TEXTS)
)
def test_a_story_is_looked_for_by_its_status_however_its_facts_are_parted(
    log, story, status, reason
):
    projection = projections()[log]
    facts = [fact(kind, minute, **fields) for kind, minute, fields in story]
    shows = witness(projection, status).evaluate
    for cut in range(len(facts)):
        parts = [part for part in (facts[:cut], facts[cut:]) if part]
        assert any(shows(fold_message(projection, part)) for part in parts), cut


def test_an_attempt_numbered_zero_still_bounces():
    assert row("email_log", fact("bounce", 1, **HARD, attempt=0))["status"] == "Bounce"


def test_codes_are_those_of_the_rule_that_decided_or_of_the_last_soft_bounce():
    failed = fact("failure", 1, reason_code="BadContent")
    assert row("email_log", failed)["reason_code"] == "BadContent"
    assert row("email_log", fact("bounce", 1, **SOFT), fact("delivery", 2))["smtp_code"] == 452


def test_missing_times_are_inferred_and_say_so():
    got = row("email_log", fact("click", 5))
    assert got["clicked_at"] == got["opened_at"] == got["delivered_at"]
    assert got["opened_inferred"]
    assert got["delivered_inferred"]


def test_it_was_delivered_when_its_delivery_says_so_and_else_at_the_first_other_sign():
    signs = [("delivery", 9, {}), ("open", 8, {}), ("click", 7, {}), ("open", 6, {"machine": True}),
             ("complaint", 5, {})]  # fmt: skip
    while signs:
        got = row("email_log", *(fact(kind, minute, **more) for kind, minute, more in signs))
        assert got["delivered_at"] == START + timedelta(minutes=signs[0][1])
        assert got["delivered_inferred"] == (signs[0][0] != "delivery")
        signs.pop(0)


def test_it_was_opened_when_a_person_opened_it_and_else_when_one_clicked():
    opened, clicked = fact("open", 8), fact("click", 7)
    got = row("email_log", opened, clicked)
    assert (got["opened_at"], got["opened_inferred"]) == (opened["occurred_at"], False)
    got = row("email_log", clicked)
    assert (got["opened_at"], got["opened_inferred"]) == (clicked["occurred_at"], True)
    assert row("email_log", fact("open", 1, machine=True))["opened_at"] is None


def test_the_codes_of_an_sms_are_those_of_its_strongest_failure():
    kinds = ["rejected", "undelivered", "expired", "failed", "opt_out"]
    while kinds:
        facts = [fact(kind, n, reason_code=kind, diagnostic=f"{kind}!", part=n + 1)
                 for n, kind in enumerate(kinds)]  # fmt: skip
        got = row("sms_log", *facts)
        assert (got["reason_code"], got["diagnostic"]) == (kinds[0], f"{kinds[0]}!")
        kinds.pop(0)


@pytest.mark.parametrize("failure", ["rejected", "undelivered", "failed", "opt_out"])
@pytest.mark.parametrize("arrival", ["delivery", "read"])
def test_an_sms_that_failed_and_arrived_is_a_conflict_unless_it_has_segments(failure, arrival):
    assert row("sms_log", fact(failure, 1), fact(arrival, 2))["conflict"]
    assert not row("sms_log", fact(failure, 1))["conflict"]
    assert not row("sms_log", fact(arrival, 2))["conflict"]
    for more in ({"parts": 2}, {"part": 2}):
        assert not row("sms_log", fact(failure, 1, **more), fact(arrival, 2))["conflict"]


@pytest.mark.parametrize(
    ("handsets", "shown"),
    [
        ([], None), ([None], None), ([True], True), ([False], False), ([False, None], None),
        ([True, None], True), ([True, False], True), ([True, False, None], True),
    ],
)  # fmt: skip
def test_whether_the_handset_has_an_sms_is_what_somebody_says_of_it(handsets, shown):
    facts = [fact("delivery", n, **({} if handset is None else {"handset": handset}))
             for n, handset in enumerate(handsets)]  # fmt: skip
    assert row("sms_log", fact("sent", 0), *facts)["handset"] is shown


def test_distinct_attempts_count_not_notifications():
    got = row("email_log", *(fact("bounce", m, **SOFT) for m in (1, 2, 3)))
    assert got["soft_bounce_count"] == 1


def test_a_click_after_a_hard_bounce_is_a_conflict_and_a_late_bounce_is_none():
    assert row("email_log", fact("bounce", 1, **HARD), fact("click", 2))["conflict"]
    assert not row("email_log", fact("click", 1), fact("bounce", 2, **HARD))["conflict"]


def test_a_scheduled_retry_is_shown_until_the_attempt_is_sent():
    due = START + timedelta(hours=1)
    bounce = fact("bounce", 1, **SOFT)
    planned = fact("retry_scheduled", 2, attempt=2, due_at=due)
    assert row("email_log", bounce, planned)["next_retry_at"] == due
    assert row("email_log", bounce, planned, fact("sent", 61, attempt=2))["next_retry_at"] is None
    exhausted = fact("retry_exhausted", 3)
    assert row("email_log", bounce, planned, exhausted)["next_retry_at"] is None


def test_a_note_and_a_resubscription_change_nothing():
    log = projections()["email_log"]
    assert not {"note", "resubscribe", "suppressed", "reinstated"} & log.kinds
    assert "skipped" not in projections()["sms_log"].kinds


def test_an_explanation_names_what_was_overruled():
    facts = [fact("bounce", 1, **HARD), fact("click", 2)]
    told = explain(fold_message(projections()["email_log"], facts))
    assert (told.status, told.place) == ("Bounce", 1)
    assert told.overruled == (
        ("Click", "a click by a person"), ("Delivery", "delivered, or implied by a complaint"),
    )  # fmt: skip


def test_an_explanation_names_every_other_status_from_the_next_rule_to_the_last_but_one():
    facts = [fact("sent", 0), fact("delivery", 1), fact("open", 2), fact("open", 3, machine=True),
             fact("click", 4), fact("invalid", 5)]  # fmt: skip
    told = explain(fold_message(projections()["email_log"], facts))
    assert (told.status, told.place, told.rule) == ("Click", 3, "a click by a person")
    assert told.overruled == (
        ("Open", "an open by a person"),
        ("Delivery", "opened by a machine only, which implies a delivery"),
        ("Delivery", "delivered, or implied by a complaint"),
        ("Invalid", "refused because the address is on a blacklist"),
        ("Sent", "sent, and nothing heard since"),
    )


def test_a_bit_keeps_its_place_for_there_are_tables_that_have_it():
    places = {
        name: [fold.name.removesuffix("_packed") for fold in log.presence_folds]
        for name, log in projections().items()
    }
    assert places == {
        "email_log": [
            "sent_at", "delivery_at", "open_at", "click_at", "machine_at", "complaint_at",
            "unsubscribe_at", "arrived_at", "opens", "clicks", "resends", "bounce", "bounce_why",
            "soft_bounce", "soft_attempts", "exhausted", "deferral", "invalid", "skipped",
            "failure", "tags", "campaign", "own_at", "joined_at",
        ],
        "sms_log": [
            "sent_at", "delivery_at", "handset_at", "operator_at", "read_at", "expired_at",
            "rejected", "undelivered", "expired", "failed", "opt_out", "campaign",
            "part_delivery_at", "delivered_parts", "handset_parts", "undelivered_parts",
            "expired_parts", "resends", "arrived_at", "own_at", "joined_at",
        ],
    }  # fmt: skip
