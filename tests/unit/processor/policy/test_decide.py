"""Retries and suppressions, rule by rule, each from the life of one address."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from processor.kafka.topics import MAX_MESSAGE_BYTES
from processor.policy import retry_rules
from processor.policy.config import Policy
from processor.policy.decide import decide, lookups_needed
from processor.policy.evolve import MAX_SET_ITEMS
from processor.policy.inputs import MAX_REASON_CHARACTERS
from processor.policy.retry_rules import wait_before_retry
from processor.policy.state import AddressState, MessageState, dump_state, load_state
from schemas.decisions import ResendRequested, retry_id
from tests.address_life import (
    DAYS,
    HOURS,
    MINUTES,
    START,
    AddressLife,
    bounce,
    command,
    message_event,
)

MS = timedelta(milliseconds=1)


def soft_days(number, start=START, **fields):
    """Soft bounces of distinct messages, a day apart."""
    return [bounce("soft", start + n * DAYS, f"s{n}", **fields) for n in range(number)]


# ---- Retries ------------------------------------------------------------------------------------


def test_retries_to_one_address_are_bounded_and_what_is_beyond_says_why(monkeypatch):
    monkeypatch.setattr(retry_rules, "MAX_PENDING_RETRIES", 40)
    jo = AddressLife()
    outputs = jo.take_all(*(bounce("soft", START, f"m{n}") for n in range(45)))
    assert outputs == ["retry_scheduled"] * 40 + ["retry_exhausted"] * 5
    assert jo.events[-1].diagnostic == "soft bounces: 40 other retries to the address are waiting"
    assert jo.take(bounce("soft", START, "m3")) == []  # a copy
    due = max(event.due_at for event in jo.events[:40])
    assert len(jo.tick(due)) == 40
    assert jo.take(bounce("soft", due + MINUTES, "m50")) == ["retry_scheduled"]


def test_the_largest_state_fits_into_a_record():
    message = MessageState(
        first_at=START, due_at=START, reason="x" * MAX_REASON_CHARACTERS,
        bounces={f"{n:032}": (n, START) for n in range(MAX_SET_ITEMS)},
        sent_times=dict.fromkeys(range(MAX_SET_ITEMS), START),
    )  # fmt: skip
    count = retry_rules.MAX_PENDING_RETRIES + MAX_SET_ITEMS
    state = AddressState(messages={f"{n:0512}": message for n in range(count)})
    assert len(dump_state(state)) < MAX_MESSAGE_BYTES / 2


def test_the_life_of_a_soft_bounce_that_is_delivered_at_the_second_retry():
    jo = AddressLife()
    assert jo.take(bounce("soft", START)) == ["retry_scheduled"]
    due = jo.events[-1].due_at
    assert 13.5 * MINUTES <= due - START <= 16.5 * MINUTES
    assert jo.events[-1].attempt == 2
    assert jo.next_wake_at == due
    assert jo.tick(due - MS) == []
    assert jo.tick(due) == ["retry 2"]
    assert jo.retries[-1].reason.startswith("452 4.2.2")
    assert jo.tick(due + MS) == []
    assert jo.take(message_event("sent", due + MINUTES, attempt=2)) == []
    assert jo.take(bounce("soft", due + 2 * MINUTES, attempt=2)) == ["retry_scheduled"]
    second = jo.events[-1].due_at
    assert 54 * MINUTES <= second - (due + 2 * MINUTES) <= 66 * MINUTES
    assert jo.tick(second) == ["retry 3"]
    jo.take_all(
        message_event("sent", second, attempt=3),
        message_event("delivery", second + MINUTES, attempt=3),
    )
    assert jo.take(bounce("soft", second + HOURS, attempt=3)) == []
    assert jo.tick(START + 3 * DAYS) == []
    jo.tick(START + 11 * DAYS)
    assert not jo.state.messages


def test_retries_used_up_are_exhausted_and_the_address_is_not_suppressed_for_that():
    jo = AddressLife()
    at = START
    for attempt in (1, 2, 3):
        assert jo.take(bounce("soft", at, attempt=attempt)) == ["retry_scheduled"]
        at = jo.events[-1].due_at
        assert jo.tick(at) == [f"retry {attempt + 1}"]
        jo.take(message_event("sent", at, attempt=attempt + 1))
        at += MINUTES
    assert jo.take(bounce("soft", at, attempt=4)) == ["retry_exhausted"]
    assert jo.events[-1].diagnostic == "soft bounces: 4 of 4 attempts used"
    assert jo.events[-1].attempt == 4
    assert jo.rules == []
    assert jo.take(bounce("soft", at + HOURS, attempt=4)) == []


@pytest.mark.parametrize("bounce_class", ["soft", "undetermined", None])
def test_soft_and_undetermined_bounces_are_retried(bounce_class):
    assert AddressLife().take(bounce(bounce_class)) == ["retry_scheduled"]


@pytest.mark.parametrize(
    "event",
    [
        message_event("deferral"),
        message_event("queued"),
        message_event("sent"),
        message_event("note"),
        bounce("block"),
        message_event("failure"),
        message_event("sent", channel="sms"),
        message_event("undelivered", channel="sms"),
        message_event("delivery"),
        message_event("open", machine=True),
    ],
    ids=lambda event: event.kind,
)
def test_nothing_else_is_retried_or_suppressed(event):
    jo = AddressLife(event.channel)
    assert jo.take(event) == []
    assert jo.state.is_empty


def test_a_soft_bounce_of_no_known_message_is_not_retried():
    jo = AddressLife()
    assert jo.take(bounce("soft", message="")) == []
    assert len(jo.state.streak) == 1


def test_ten_copies_of_one_bounce_count_once():
    jo = AddressLife()
    assert jo.take_all(*[bounce("soft")] * 10) == ["retry_scheduled"]
    before = jo.state
    jo.take(bounce("soft"))
    assert jo.state == before
    assert len(jo.state.streak) == 1


@pytest.mark.parametrize(
    "event",
    [
        bounce("soft"),
        bounce("hard"),
        message_event("complaint"),
        message_event("unsubscribe"),
        message_event("resubscribe"),
        message_event("sent", attempt=2),
        command("add", START),
    ],
    ids=lambda event: getattr(event, "kind", "command"),
)
def test_a_copy_decides_nothing(event):
    policy, now = Policy(), START + HOURS
    _, state = decide(AddressState(), event, now, policy)
    assert state != AddressState()
    assert decide(state, event, now, policy) == ((), state)


def test_another_notice_of_an_attempt_that_bounced_asks_for_nothing_more():
    jo = AddressLife()
    jo.take(bounce("soft", START))
    assert jo.take(bounce("soft", START + MINUTES, reason_code="other words")) == []


def test_an_older_attempts_bounce_that_comes_late_asks_for_nothing():
    jo = AddressLife()
    assert jo.take(bounce("soft", START + HOURS, attempt=2)) == ["retry_scheduled"]
    assert jo.events[-1].attempt == 3
    assert jo.take(bounce("soft", START, attempt=1)) == []


def test_a_bounce_that_names_no_attempt_belongs_to_the_last_one_sent_before_it():
    jo = AddressLife()
    jo.take(bounce("soft", START))
    due = jo.events[-1].due_at
    jo.tick(due)
    jo.take(message_event("sent", due, attempt=2))
    assert jo.take(bounce("soft", due + MINUTES)) == ["retry_scheduled"]
    assert jo.events[-1].attempt == 3


def test_it_does_so_also_if_that_sent_event_comes_after_the_bounce():
    jo = AddressLife()
    jo.take(bounce("soft", START))
    due = jo.events[-1].due_at
    jo.tick(due)
    assert jo.take(bounce("soft", due + MINUTES)) == []
    assert jo.take(message_event("sent", due, attempt=2)) == ["retry_scheduled"]
    assert jo.events[-1].attempt == 3
    assert jo.events[-1].occurred_at == due + MINUTES


def test_an_attempt_that_was_not_requested_answers_the_retry_that_was_waiting():
    jo = AddressLife()
    jo.take(bounce("soft", START))
    jo.take(message_event("sent", START + MINUTES, attempt=2))
    assert jo.tick(START + HOURS) == []


@pytest.mark.parametrize("why", ["it was delivered", "it was opened", "its recipient complained"])
def test_a_message_that_the_log_knows_to_be_finished_is_not_retried(why):
    jo = AddressLife()
    jo.take(bounce("soft", START))
    assert jo.tick(START + HOURS, finished={"m1": why}) == []
    assert jo.tick(START + 2 * HOURS) == []
    ann = AddressLife()
    assert ann.take(bounce("soft", START), finished={"m1": why}) == []
    assert ann.tick(START + HOURS) == []


@pytest.mark.parametrize(
    "end",
    [
        message_event("delivery"),
        message_event("open"),
        message_event("open", machine=True),
        message_event("click"),
        message_event("complaint"),
        bounce("hard"),
        bounce("block"),
        message_event("failure"),
    ],
    ids=lambda event: f"{event.kind} {event.bounce_class} {event.machine}",
)
def test_a_message_that_arrived_or_cannot_is_not_retried(end):
    jo = AddressLife()
    jo.take(bounce("soft", START))
    jo.take(end, START + MINUTES)
    jo.retries.clear()
    assert "retry 2" not in jo.tick(START + HOURS)


def test_a_bounce_of_one_message_does_not_touch_the_retry_of_another():
    jo = AddressLife()
    jo.take_all(bounce("soft", START, "m1"), bounce("soft", START, "m2"))
    jo.take(message_event("delivery", START + MINUTES, "m1"))
    assert jo.tick(START + HOURS) == ["retry 2"]
    assert jo.retries[0].message_id == "m2"


def test_a_retry_to_an_address_suppressed_meanwhile_is_refused():
    jo = AddressLife()
    jo.take(bounce("soft", START, "m1"))
    jo.take(bounce("hard", START + MINUTES, "m2"))
    assert jo.tick(START + HOURS) == ["invalid"]
    refusal = jo.events[-1]
    assert (refusal.message_id, refusal.attempt) == ("m1", 1)
    assert refusal.diagnostic.startswith("hard bounce on 2026-11-02: 550 5.1.1")
    assert jo.retries == []


def test_a_soft_bounce_of_a_suppressed_address_is_refused_at_once():
    jo = AddressLife()
    jo.take(bounce("hard", START, "m2"))
    assert jo.take(bounce("soft", START + MINUTES, "m1")) == ["invalid"]


def test_a_retry_to_someone_unsubscribed_is_skipped():
    jo = AddressLife()
    jo.take(bounce("soft", START, "m1"))
    jo.take(message_event("unsubscribe", START + MINUTES, "m2"))
    assert jo.tick(START + HOURS) == ["skipped"]


def test_no_retry_is_scheduled_later_than_the_horizon_after_the_first_attempt():
    jo = AddressLife(horizon=2 * HOURS)
    assert jo.take(bounce("soft", START + 2 * HOURS), first_sent_at={"m1": START}) == [
        "retry_exhausted"
    ]
    assert "within 2h of the first" in jo.events[-1].diagnostic


def test_a_retry_that_could_not_be_requested_within_the_horizon_is_not_requested():
    jo = AddressLife()
    jo.take(bounce("soft", START))
    assert jo.tick(START + 72 * HOURS + MS) == ["retry_exhausted"]
    assert jo.tick(START + 72 * HOURS + HOURS) == []


def test_no_retries_at_all_means_that_the_first_soft_bounce_exhausts():
    assert AddressLife(retries=0).take(bounce("soft")) == ["retry_exhausted"]


def test_the_schedule_has_jitter_that_follows_from_the_message():
    policy = Policy()
    waits = {wait_before_retry(policy, f"m{n}", 1) for n in range(1000)}
    assert 13.5 * MINUTES <= min(waits) < 13.6 * MINUTES
    assert 16.4 * MINUTES < max(waits) <= 16.5 * MINUTES
    assert wait_before_retry(policy, "m1", 1) == wait_before_retry(policy, "m1", 1)
    ratio = wait_before_retry(policy, "m1", 2) / wait_before_retry(policy, "m1", 1)
    assert ratio == pytest.approx(4)
    assert wait_before_retry(policy, "m1", 9) == wait_before_retry(policy, "m1", 3)


def test_a_retrys_id_follows_from_message_recipient_and_attempt():
    first, again = AddressLife(), AddressLife()
    for jo in (first, again):
        jo.take(bounce("soft"))
        jo.tick(START + HOURS)
    assert first.retries == again.retries
    assert len(first.retries[0].id) == 32
    other = AddressLife()
    other.take(bounce("soft", message="m2"))
    other.tick(START + HOURS)
    assert other.retries[0].id != first.retries[0].id


def test_a_state_lost_by_a_crash_requests_the_same_retry_again():
    jo = AddressLife()
    jo.take(bounce("soft"))
    before = jo.state
    jo.tick(START + HOURS)
    jo.state = before
    jo.tick(START + HOURS)
    assert jo.retries[0] == jo.retries[1]


# ---- What suppresses an address -----------------------------------------------------------------


def test_the_life_of_a_hard_bounce():
    jo = AddressLife()
    assert jo.take(bounce("hard", START, "m1")) == ["suppressed"]
    entry = jo.entries[-1]
    assert (entry.rule, entry.effect, entry.since, entry.until) == (
        "hard_bounce", "invalid", START, None,
    )  # fmt: skip
    assert (entry.message_id, entry.actor) == ("m1", "sendlog")
    assert entry.reason == "550 5.1.1 mailbox does not exist"
    assert jo.take(message_event("sent", START + HOURS, "m2")) == ["invalid"]
    assert jo.events[-1].message_id == "m2"
    assert jo.events[-1].rule == "hard_bounce"
    assert jo.take(command("reset", START + 2 * HOURS)) == ["reinstated"]
    assert jo.entries[-1] is None
    assert (jo.events[-1].actor, jo.events[-1].diagnostic) == ("Kim", "asked by phone")
    assert jo.take(message_event("sent", START + 3 * HOURS, "m3")) == []
    assert jo.take(bounce("hard", START + 4 * HOURS, "m3")) == ["suppressed"]
    assert jo.events[-1].change == "added"
    assert jo.entries[-1].since == START + 4 * HOURS


def test_a_hard_bounce_without_a_message_id_suppresses_the_address():
    jo = AddressLife()
    assert jo.take(bounce("hard", message="")) == ["suppressed"]
    assert jo.events[-1].message_id == ""


def test_a_block_never_suppresses():
    jo = AddressLife()
    for n in range(20):
        assert jo.take(bounce("block", START + n * DAYS, f"m{n}")) == []
    assert jo.state.is_empty


def test_a_complaint_suppresses_and_its_reset_has_to_be_confirmed():
    jo = AddressLife()
    assert jo.take(message_event("complaint")) == ["suppressed"]
    assert jo.take(command("reset", START + HOURS)) == []
    assert "confirmed" in jo.rejections[-1]
    assert jo.rules == ["complaint"]
    assert jo.take(command("reset", START + HOURS, confirmed_complaint=True)) == ["reinstated"]
    assert jo.rules == []


def test_a_complaint_that_comes_after_an_unconfirmed_reset_is_not_forgiven_by_it():
    jo = AddressLife()
    jo.take(bounce("hard", START))
    jo.take(command("reset", START + 2 * HOURS))
    assert jo.take(message_event("complaint", START + HOURS), START + 3 * HOURS) == ["suppressed"]


def test_a_complaint_taken_back_suppresses_nobody():
    assert AddressLife().take(message_event("complaint", reason_code="not-spam")) == []


def test_an_sms_opt_out_suppresses_the_number_and_a_later_send_is_opted_out():
    jo = AddressLife("sms")
    assert jo.take(message_event("opt_out", channel="sms")) == ["suppressed"]
    assert jo.take(message_event("sent", START + HOURS, "m2", channel="sms")) == ["opt_out"]
    assert jo.take(jo.events[-1]) == []
    assert jo.take(command("reset", START + 2 * HOURS, channel="sms")) == []
    assert "only START sent to our number ends that" in jo.rejections[-1]
    confirmed = command("reset", START + 2 * HOURS, channel="sms", confirmed_complaint=True)
    assert jo.take(confirmed) == ["reinstated"]
    assert jo.take(message_event("sent", START + 3 * HOURS, "m3", channel="sms")) == []


def test_an_sms_to_a_number_suppressed_by_hand_has_failed():
    jo = AddressLife("sms")
    jo.take(command("add", START, channel="sms"))
    assert jo.take(message_event("sent", START + HOURS, "m2", channel="sms")) == ["failed"]


def test_a_providers_echo_suppresses_and_a_mailers_own_refusal_does_not():
    jo = AddressLife()
    assert jo.take(message_event("invalid", diagnostic="on our list")) == []
    assert jo.take(message_event("invalid", provider="ses", diagnostic="on our list")) == [
        "suppressed"
    ]
    assert (jo.entries[-1].rule, jo.entries[-1].reason) == ("echo", "on our list")


def test_our_own_decisions_lead_to_no_others():
    jo = AddressLife()
    jo.take(bounce("hard"))
    jo.take(message_event("sent", START + HOURS, "m2"))
    for decision in list(jo.events):
        again = AddressLife()
        assert again.take(decision) == []
        assert again.state.is_empty


def test_a_person_suppresses_an_address_by_hand():
    jo = AddressLife()
    assert jo.take(command("add", START, actor="Kim", reason="left the school")) == ["suppressed"]
    entry = jo.entries[-1]
    assert (entry.rule, entry.actor, entry.reason) == ("by_hand", "Kim", "left the school")
    assert jo.take(message_event("sent", START + HOURS, "m2")) == ["invalid"]
    assert "by Kim" in jo.events[-1].diagnostic
    jo.take(command("add", START + HOURS))
    assert jo.rejections == ["it is blacklisted by hand already"]


@pytest.mark.parametrize(
    ("rule", "event"),
    [
        ("hard_bounce", bounce("hard")), ("complaint", message_event("complaint")),
        ("echo", message_event("invalid", provider="ses")),
    ],
)  # fmt: skip
def test_a_policy_says_what_suppresses(rule, event):
    others = {"hard_bounce", "complaint", "opt_out", "echo", "soft_bounces"} - {rule}
    assert AddressLife(blacklists=others).take(event) == []
    assert AddressLife(blacklists={rule}).take(event) == ["suppressed"]


def test_a_second_reason_extends_the_entry_and_the_strongest_leads():
    jo = AddressLife()
    jo.take(bounce("hard", START))
    assert jo.take(message_event("complaint", START + HOURS, "m2")) == ["suppressed"]
    assert jo.events[-1].change == "extended"
    assert jo.entries[-1].rule == "complaint"
    assert [reason.rule for reason in jo.entries[-1].also] == ["hard_bounce"]


def test_a_second_hard_bounce_changes_no_entry():
    jo = AddressLife()
    jo.take(bounce("hard", START))
    assert jo.take(bounce("hard", START + DAYS, "m2")) == []
    assert len(jo.entries) == 1


def test_an_entry_quotes_the_version_of_the_bounce_rules():
    jo = AddressLife(rules_version=7)
    jo.take(bounce("hard"))
    assert (jo.entries[-1].rules_version, jo.events[-1].rules_version) == (7, 7)


# ---- Unsubscribes -------------------------------------------------------------------------------


def test_an_unsubscribe_skips_later_sends_and_no_bounce_overrides_it():
    jo = AddressLife()
    assert jo.take(message_event("unsubscribe")) == ["suppressed"]
    assert jo.entries[-1].effect == "skipped"
    assert jo.take(message_event("sent", START + HOURS, "m2")) == ["skipped"]
    jo.take(bounce("hard", START + 2 * HOURS, "m2"))
    assert jo.entries[-1].effect == "skipped"
    assert jo.take(message_event("sent", START + 3 * HOURS, "m3")) == ["skipped"]


def test_a_reset_lifts_the_block_beside_an_unsubscribe_but_not_that():
    jo = AddressLife()
    jo.take_all(message_event("unsubscribe"), bounce("hard", START + HOURS, "m2"))
    assert jo.take(command("reset", START + 2 * HOURS)) == ["reinstated"]
    assert jo.rules == ["unsubscribe"]
    jo.take(command("reset", START + 3 * HOURS))
    assert "only a new subscription" in jo.rejections[-1]


def test_a_new_subscription_ends_an_unsubscribe_and_nothing_else():
    jo = AddressLife()
    jo.take_all(message_event("unsubscribe"), bounce("hard", START + HOURS, "m2"))
    assert jo.take(message_event("resubscribe", START + 2 * HOURS, "m3")) == ["reinstated"]
    assert jo.rules == ["hard_bounce"]
    assert jo.take(message_event("unsubscribe"), START + 3 * HOURS) == []
    assert jo.take(message_event("unsubscribe", START + 4 * HOURS)) == ["suppressed"]


# ---- Streaks of soft bounces --------------------------------------------------------------------


def test_five_messages_in_a_row_a_day_apart_suppress_the_address_for_thirty_days():
    jo = AddressLife()
    for event in soft_days(4):
        assert jo.take(event) == ["retry_scheduled"]
        assert jo.tick(event.occurred_at + HOURS) == ["retry 2"]
    assert jo.take(bounce("soft", START + 4 * DAYS, "s4")) == ["suppressed", "invalid"]
    entry = jo.entries[-1]
    assert (entry.rule, entry.until) == ("soft_bounces", START + 34 * DAYS)
    assert "5 messages in a row" in entry.reason
    assert jo.take(message_event("sent", START + 20 * DAYS, "m9")) == ["invalid"]
    assert jo.tick(START + 34 * DAYS - MS) == []
    assert jo.next_wake_at == START + 34 * DAYS
    assert jo.tick(START + 34 * DAYS) == ["reinstated"]
    assert (jo.events[-1].change, jo.events[-1].occurred_at) == ("expired", START + 34 * DAYS)
    assert jo.entries[-1] is None
    assert jo.take(message_event("sent", START + 35 * DAYS, "m10")) == []
    assert jo.take(bounce("soft", START + 36 * DAYS, "m10")) == ["retry_scheduled"]


def test_an_entry_expires_before_an_event_after_it_even_without_a_tick():
    jo = AddressLife()
    jo.take_all(*soft_days(5))
    assert jo.take(message_event("sent", START + 40 * DAYS, "m9")) == ["reinstated"]


def test_another_soft_bounce_extends_the_entry():
    jo = AddressLife()
    jo.take_all(*soft_days(5))
    assert jo.take(bounce("soft", START + 10 * DAYS, "m9")) == ["suppressed", "invalid"]
    assert jo.events[-2].change == "extended"
    assert jo.entries[-1].until == START + 40 * DAYS


def test_one_message_counts_once_however_often_it_bounces():
    jo = AddressLife(soft_threshold=2)
    jo.take(bounce("soft", START))
    jo.take(message_event("sent", START + DAYS, attempt=2))
    jo.take(bounce("soft", START + 2 * DAYS, attempt=2))
    assert jo.rules == []
    jo.take(bounce("soft", START + 2.5 * DAYS, "m2"))
    assert jo.rules == ["soft_bounces"]


def test_at_most_one_message_counts_in_twenty_four_hours():
    jo = AddressLife(soft_threshold=2)
    for n in range(24):
        jo.take(bounce("soft", START + n * HOURS, f"m{n}"))
    assert jo.rules == []
    jo.take(bounce("soft", START + 24 * HOURS, "m24"))
    assert jo.rules == ["soft_bounces"]


@pytest.mark.parametrize(
    "success",
    [
        message_event("delivery", START + 3.5 * DAYS, "d"),
        message_event("open", START + 3.5 * DAYS, "d"),
        message_event("click", START + 3.5 * DAYS, "d", machine=False),
    ],
    ids=lambda event: event.kind,
)
def test_a_delivery_open_or_click_between_resets_the_streak(success):
    jo = AddressLife()
    jo.take_all(*soft_days(4), success)
    jo.take(bounce("soft", START + 4 * DAYS, "s4"))
    assert jo.rules == []
    ann = AddressLife()
    ann.take_all(*soft_days(4))
    ann.take(bounce("soft", START + 4 * DAYS, "s4"), last_success_at=success.occurred_at)
    assert ann.rules == []
    ann.take_all(*soft_days(3, START + 5 * DAYS))
    assert ann.rules == []
    ann.take(bounce("soft", START + 8 * DAYS, "s9"))
    assert ann.rules == ["soft_bounces"]


def test_a_machines_open_resets_no_streak():
    jo = AddressLife()
    jo.take_all(*soft_days(4), message_event("open", START + 3.5 * DAYS, "d", machine=True))
    jo.take(bounce("soft", START + 4 * DAYS, "s4"))
    assert jo.rules == ["soft_bounces"]


def test_a_soft_bounce_older_than_the_last_delivery_does_not_count():
    jo = AddressLife(soft_threshold=1)
    jo.take(bounce("soft", START), last_success_at=START + HOURS)
    assert jo.rules == []


def test_a_reset_clears_the_counters():
    jo = AddressLife()
    jo.take_all(*soft_days(4))
    assert jo.take(command("reset", START + 3.5 * DAYS)) == []
    assert jo.rejections == []
    jo.take(bounce("soft", START + 4 * DAYS, "s4"))
    assert jo.rules == []


# ---- Refusals without a cause -------------------------------------------------------------------


def refusal(at=START, message="m1", **fields):
    """Return a bounce for good that nothing names the cause of."""
    return message_event(
        "bounce", at, message, bounce_class="block", classified_by="refusal", smtp_code=554,
        diagnostic="554 no", **fields,
    )  # fmt: skip


def test_three_messages_refused_in_a_row_suppress_the_address_for_ninety_days():
    jo = AddressLife()
    assert jo.take_all(refusal(START, "m1"), refusal(START + DAYS, "m2")) == []
    assert jo.take(refusal(START + 2 * DAYS, "m3")) == ["suppressed"]
    entry = jo.entries[-1]
    assert (entry.rule, entry.effect, entry.until) == ("refusals", "invalid", START + 92 * DAYS)
    assert entry.reason == "3 messages in a row were refused: 554 no"
    assert jo.take(message_event("sent", START + 3 * DAYS, "m4")) == ["invalid"]
    assert jo.tick(START + 92 * DAYS) == ["reinstated"]
    assert jo.take(refusal(START + 93 * DAYS, "m5")) == []


def test_a_refusal_counts_once_for_each_message_and_one_of_no_message_for_itself():
    jo = AddressLife()
    first = refusal(START, "m1")
    jo.take_all(first, first, refusal(START + HOURS, "m1"), refusal(START + 2 * HOURS, "m2"))
    assert jo.rules == []
    jo.take(refusal(START + 3 * HOURS, ""))
    assert jo.rules == ["refusals"]


def test_refusals_count_within_thirty_days():
    jo = AddressLife()
    jo.take_all(refusal(START, "m1"), refusal(START + 29 * DAYS, "m2"))
    jo.take(refusal(START + 31 * DAYS, "m3"))
    assert jo.rules == []
    jo.take(refusal(START + 32 * DAYS, "m4"))
    assert jo.rules == ["refusals"]


def test_late_refusals_of_another_month_are_not_counted_together():
    jo = AddressLife()
    now = START + 29 * DAYS
    jo.take(refusal(START + 28 * DAYS, "m2"), now)
    jo.take(refusal(START - 10 * DAYS, "m1"), now)
    jo.take(refusal(START - 11 * DAYS, "m0"), now)
    assert jo.rules == []


@pytest.mark.parametrize("cause", ["code", "text", "label"])
def test_a_refusal_with_a_cause_never_counts(cause):
    jo = AddressLife(refusal_threshold=1)
    jo.take(bounce("block", classified_by=cause))
    assert jo.state.is_empty


def test_a_success_between_ends_refusals_in_a_row():
    jo = AddressLife()
    jo.take_all(refusal(START, "m1"), refusal(START + DAYS, "m2"))
    jo.take(message_event("delivery", START + 1.5 * DAYS, "d"))
    jo.take(refusal(START + 2 * DAYS, "m3"))
    assert jo.rules == []
    ann = AddressLife()
    ann.take_all(refusal(START, "m1"), refusal(START + DAYS, "m2"))
    ann.take(refusal(START + 2 * DAYS, "m3"), last_success_at=START + 1.5 * DAYS)
    assert ann.rules == []
    assert list(ann.state.refusals) == ["m3"]


@pytest.mark.parametrize("is_late", [True, False])
def test_a_refusal_from_before_the_last_success_does_not_count(is_late):
    at = START + (0 if is_late else 2) * DAYS
    jo = AddressLife()
    jo.take_all(refusal(START - HOURS, "m0"), message_event("delivery", START + DAYS, "d"))
    jo.take(refusal(at, "m1"), START + 2 * DAYS)
    ann = AddressLife()
    ann.take(refusal(at, "m1"), START + 2 * DAYS, last_success_at=START + DAYS)
    for life in (jo, ann):
        assert list(life.state.refusals) == ([] if is_late else ["m1"])


def test_a_refusal_threshold_of_nothing_turns_the_rule_off():
    jo = AddressLife(refusal_threshold=0)
    jo.take_all(*(refusal(START + n * HOURS, f"m{n}") for n in range(9)))
    assert jo.state.is_empty


def test_a_reset_of_an_address_with_refusals_counts_anew():
    jo = AddressLife()
    jo.take_all(*(refusal(START + n * HOURS, f"m{n}") for n in range(3)))
    assert jo.take(command("reset", START + DAYS)) == ["reinstated"]
    jo.take_all(*(refusal(START + DAYS + n * HOURS, f"n{n}") for n in range(1, 3)))
    assert jo.rules == []
    jo.take(refusal(START + 2 * DAYS, "n3"))
    assert jo.rules == ["refusals"]


def test_the_log_is_asked_about_an_address_with_refusals():
    jo = AddressLife()
    event = refusal(START, "m1")
    assert lookups_needed(jo.state, event, START) is None
    jo.take(event)
    assert lookups_needed(jo.state, refusal(START + HOURS, "m2"), START + HOURS) == frozenset()


# ---- Resets -------------------------------------------------------------------------------------


def test_a_redelivered_old_hard_bounce_does_not_suppress_again_after_a_reset():
    jo = AddressLife()
    old = bounce("hard", START)
    jo.take_all(old, command("reset", START + HOURS))
    assert jo.take(old, START + 2 * HOURS) == []
    stamped_anew = old.model_copy(update={"occurred_at": START + 3 * HOURS, "recorded_at": None})
    assert jo.take(stamped_anew) == []
    assert jo.take(bounce("hard", START - HOURS, "m0"), START + 4 * HOURS) == []
    jo.tick(START + 400 * DAYS)
    assert jo.take(old, START + 400 * DAYS) == []


def test_a_hard_bounce_after_the_reset_stands_even_if_it_comes_before_it():
    jo = AddressLife()
    jo.take_all(bounce("hard", START), bounce("hard", START + 2 * HOURS, "m2"))
    assert jo.take(command("reset", START + HOURS), START + 3 * HOURS) == [
        "reinstated", "suppressed",
    ]  # fmt: skip
    assert jo.rules == ["hard_bounce"]
    assert jo.entries[-1].since == START + 2 * HOURS


def test_a_reset_that_comes_twice_lifts_nothing_later():
    jo = AddressLife()
    reset = command("reset", START + HOURS)
    jo.take_all(bounce("hard", START), reset, bounce("hard", START + 2 * HOURS, "m2"))
    assert jo.take(reset, START + 3 * HOURS) == []
    assert jo.rules == ["hard_bounce"]
    assert jo.rejections == []


def test_a_reset_of_what_is_not_suppressed_says_so_and_is_known_for_a_while():
    jo = AddressLife()
    reset = command("reset", START)
    assert jo.take(reset) == []
    assert jo.rejections == ["it is not blacklisted"]
    assert jo.state == AddressState(applied_ids={reset.id: START})
    jo.tick(jo.next_wake_at)
    assert jo.state.is_empty


@pytest.mark.parametrize("what", ["reset", "add", "resend"])
def test_a_copy_of_a_refused_command_does_nothing_when_it_would_be_obeyed(what):
    jo, day = AddressLife(), START + DAYS
    jo.take(command("add", START))
    refused = command(what, day, id="refused", **{"message_id": "m1"} if what == "resend" else {})
    if what == "reset":
        jo.take(command("reset", START + HOURS))
    jo.take(refused)
    [_] = jo.rejections
    jo.take(command("add" if what == "reset" else "reset", day, id="between"), day + HOURS)
    entries, retries = list(jo.entries), list(jo.retries)
    assert jo.take(refused, day + 2 * HOURS) == []
    assert (jo.entries, jo.retries, len(jo.rejections)) == (entries, retries, 1)


def test_an_entry_by_hand_that_was_reset_before_it_arrived_says_so():
    jo = AddressLife()
    jo.take_all(bounce("hard", START), command("reset", START + 2 * HOURS))
    jo.take(command("add", START + HOURS), START + 3 * HOURS)
    assert jo.rejections == ["it was reset after this was asked for"]


def test_a_bounce_dated_in_the_future_can_be_reset():
    jo = AddressLife()
    jo.take(bounce("hard", START + 900 * DAYS, recorded_at=START))
    jo.take(command("reset", START + HOURS))
    assert jo.rules == []


# ---- Refusals -----------------------------------------------------------------------------------


def test_a_send_is_refused_only_if_the_address_was_suppressed_at_its_time():
    jo = AddressLife()
    jo.take(bounce("hard", START + HOURS, "m1"))
    jo.take(command("reset", START + 3 * HOURS))
    assert jo.take(message_event("sent", START, "m2"), START + 5 * HOURS) == []
    assert jo.take(message_event("sent", START + 2 * HOURS, "m3"), START + 5 * HOURS) == ["invalid"]
    assert jo.take(message_event("sent", START + 4 * HOURS, "m4"), START + 5 * HOURS) == []


def test_the_message_that_suppressed_the_address_is_not_refused_whatever_the_clocks_say():
    jo = AddressLife()
    jo.take(bounce("hard", START, "m1"))
    assert jo.take(message_event("sent", START + MS, "m1")) == []


def test_a_refusal_decided_twice_is_the_same_event():
    jo = AddressLife()
    jo.take_all(bounce("hard", START), *[message_event("sent", START + HOURS, "m2")] * 2)
    assert jo.events[-1].event_id == jo.events[-2].event_id


# ---- What is kept of an address -----------------------------------------------------------------


RESETTABLE = {"hard_bounce", "echo", "by_hand"}
#: What happens to an address, and of which rules something is kept for ever.
LIVES = {
    "a soft bounce": (soft_days(1), set()),
    "a retry": ([*soft_days(1), message_event("sent", START + HOURS, "s0", attempt=2)], set()),
    "soft bounces": (soft_days(2), set()),
    "a delivery": ([*soft_days(1), message_event("delivery", START + DAYS, "d1")], set()),
    "refusals": ([refusal(START + n * HOURS, f"m{n}") for n in range(3)], set()),
    "a reset of soft bounces": ([*soft_days(2), command("reset", START + 3 * DAYS)], RESETTABLE),
    "a reset of refusals": ([refusal(), command("reset", START + DAYS)], RESETTABLE),
    "a reset": ([bounce("hard"), command("reset", START + HOURS)], RESETTABLE),
    "many resets": (
        [
            event for n in range(9) for event in (
                bounce("hard", START + n * DAYS, f"h{n}"),
                command("reset", START + n * DAYS + HOURS),
            )
        ],
        RESETTABLE,
    ),
    "a reset before those of more": (
        [
            bounce("hard"), command("reset", START + HOURS),
            *(event for n in range(2, 12) for event in (
                bounce("hard", START + n * HOURS, f"h{n}"),
                message_event("invalid", START + n * HOURS, f"i{n}", provider="ses"),
                message_event("complaint", START + n * HOURS, f"c{n}"),
            )),
            command("reset", START + DAYS, confirmed_complaint=True),
            *(event for n in range(2, 5) for event in (
                bounce("hard", START + n * DAYS, f"d{n}"),
                command("reset", START + n * DAYS + HOURS),
            )),
        ],
        RESETTABLE | {"complaint", "opt_out"},
    ),
    "a subscription": (
        [message_event("unsubscribe"), message_event("resubscribe", START + HOURS)],
        {"unsubscribe"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("inputs", "kept"), LIVES.values(), ids=LIVES)
def test_an_address_wakes_when_time_changes_something_and_only_then_until_nothing_is_left(
    inputs, kept
):
    jo = AddressLife(soft_threshold=2)
    jo.take_all(*inputs)
    assert jo.next_wake_at
    while (wake := jo.next_wake_at) is not None:
        state = jo.state
        assert jo.tick(wake - MS) == []
        assert jo.state == state
        jo.tick(wake)
        assert jo.state != state
    assert jo.state.cleared.keys() | jo.state.reasons.keys() == kept
    assert jo.state == AddressState(cleared=jo.state.cleared, reasons=jo.state.reasons)
    assert (dump_state(jo.state) == b"{}") == (not kept)


def test_a_state_is_small_however_much_happens():
    jo = AddressLife()
    for n in range(2000):
        at = START + n * HOURS
        jo.take(bounce("soft", at, f"message-{n}"))
        jo.tick(at + 30 * MINUTES)
        jo.take(bounce("hard", at, f"message-{n}", diagnostic="x" * 5000))
        if n % 50 == 0:
            jo.take(command("reset", at + MINUTES))
    assert len(dump_state(jo.state)) < 40_000


def test_what_is_serialised_is_read_back_the_same():
    jo = AddressLife()
    jo.take_all(
        *soft_days(5), bounce("hard", START + 5 * DAYS, "m1"), command("reset", START + 6 * DAYS),
        message_event("sent", START + 6 * DAYS, attempt=2),
        message_event("unsubscribe", START + 7 * DAYS),
    )  # fmt: skip
    assert load_state(dump_state(jo.state)) == jo.state
    assert load_state(dump_state(jo.state).decode()) == jo.state


def test_every_step_of_a_retry_and_a_rejected_command_are_noted():
    jo = AddressLife()
    jo.take(bounce("soft", START))
    due_at = jo.state.messages["m1"].due_at
    jo.tick(due_at)
    jo.take(message_event("delivery", due_at + HOURS, attempt=2))
    jo.take(command("reset", due_at + 2 * HOURS, id="c-1"))
    assert [(note.reason_code, note.attempt) for note in jo.notes] == [
        ("retry_asked", 2), ("retry_cancelled", 3), ("command_refused", 1),
    ]  # fmt: skip
    requested, _, rejected = jo.notes
    assert (requested.occurred_at, requested.due_at) == (due_at, due_at)
    assert (rejected.change, rejected.cause_event_id, rejected.actor) == ("refused", "c-1", "Kim")


def test_a_reset_that_only_clears_the_counters_is_noted_for_whoever_asked():
    jo = AddressLife()
    jo.take_all(*soft_days(2), command("reset", START + 3 * DAYS, id="c-1"))
    (note,) = [note for note in jo.notes if note.reason_code == "streak_reset"]
    assert (note.change, note.cause_event_id, note.rule) == ("reset", "c-1", None)


# ---- Ties ---------------------------------------------------------------------------------------


def test_a_success_in_the_millisecond_of_a_soft_bounce_ends_its_streak():
    jo = AddressLife()
    jo.take(bounce("soft", START))
    jo.take(bounce("soft", START + DAYS, "m2"), last_success_at=START)
    assert jo.state.streak == {"m2": START + DAYS}
    other = AddressLife()
    other.take(bounce("soft", START))
    other.take(message_event("delivery", START, "m2"))
    assert other.state.streak == {}


def test_a_later_attempt_at_the_message_that_suppressed_its_address_is_refused():
    jo = AddressLife()
    jo.take(bounce("hard", START, "m1"))
    assert jo.take(message_event("sent", START + HOURS, "m1")) == []  # it was, before it bounced
    assert jo.take(message_event("sent", START + HOURS, "m1", attempt=2)) == ["invalid"]


@pytest.mark.parametrize(("late", "output"), [(0 * MS, "retry_scheduled"), (MS, "retry_exhausted")])
def test_an_attempt_may_be_made_until_the_very_end_of_the_horizon(late, output):
    jo = AddressLife(horizon=2 * DAYS)
    assert jo.take(bounce("soft", START), START + 2 * DAYS + late) == [output]


# ---- Messages that were known by a provider's id ------------------------------------------------


def test_a_retry_is_of_the_message_that_a_bounce_was_joined_to():
    jo = AddressLife()
    jo.take(bounce("soft", START, "p-1"))
    jo.take(bounce("soft", START, "m1", other_id="p-1"))
    assert list(jo.state.messages) == ["m1"]
    jo.tick(START + HOURS)
    assert [(retry.message_id, retry.attempt) for retry in jo.retries] == [("m1", 2)]


def test_what_was_requested_by_a_providers_id_is_not_requested_again():
    jo = AddressLife()
    jo.take(bounce("soft", START, "p-1"))
    jo.tick(START + HOURS)
    jo.take(bounce("soft", START, "m1", other_id="p-1"))
    jo.tick(START + 2 * HOURS)
    assert [(retry.message_id, retry.attempt) for retry in jo.retries] == [("p-1", 2)]
    jo.take(message_event("sent", START + 2 * HOURS, "m1", attempt=2))
    jo.take(bounce("soft", START + 3 * HOURS, "m1", attempt=2))
    jo.tick(START + 9 * HOURS)
    assert [(retry.message_id, retry.attempt) for retry in jo.retries][1:] == [("m1", 3)]


def test_a_bounce_by_a_providers_id_after_that_of_its_message_decides_nothing():
    jo = AddressLife()
    jo.take(bounce("soft", START, "m1", other_id="p-1"))
    assert jo.take(bounce("soft", START, "p-1")) == []
    assert (list(jo.state.messages), list(jo.state.streak)) == (["m1"], ["m1"])
    jo.tick(START + HOURS)
    assert [(retry.message_id, retry.attempt) for retry in jo.retries] == [("m1", 2)]


def test_by_the_providers_id_of_a_later_attempt_the_one_after_it_was_requested():
    jo = AddressLife()
    jo.take(bounce("soft", START, "m1", other_id="p-1"))
    jo.tick(START + HOURS)
    jo.take(bounce("soft", START + HOURS, "p-2"))
    jo.tick(START + 2 * HOURS)
    jo.take(bounce("soft", START + HOURS, "m1", attempt=2, other_id="p-2"))
    jo.tick(START + 9 * HOURS)
    requested = [(retry.message_id, retry.attempt) for retry in jo.retries]
    assert requested == [("m1", 2), ("p-2", 2)]


def test_a_retry_that_waits_is_void_if_a_later_one_was_requested_by_a_providers_id():
    jo = AddressLife()
    jo.take(bounce("soft", START + HOURS, "p-2"))
    jo.tick(START + 2 * HOURS)
    jo.take(bounce("soft", START + 2 * HOURS, "m1", other_id="p-1"))
    jo.take(bounce("soft", START + HOURS, "m1", attempt=2, other_id="p-2"))
    jo.tick(START + 9 * HOURS)
    assert [(retry.message_id, retry.attempt) for retry in jo.retries] == [("p-2", 2)]


def test_a_joined_id_is_forgotten_with_its_message():
    jo = AddressLife()
    jo.take(bounce("hard", START, "m1", other_id="p-1"))
    assert list(jo.state.joined) == ["p-1"]
    jo.tick(START + 100 * DAYS)
    assert not jo.state.joined


def test_a_message_of_two_ids_counts_once_in_a_row():
    jo = AddressLife()
    for day in range(2):
        at = START + day * 2 * DAYS
        jo.take(bounce("soft", at, f"p-{day}"))
        assert jo.take(bounce("soft", at, f"m{day}", other_id=f"p-{day}")) == ["retry_scheduled"]
    assert list(jo.state.streak) == ["m0", "m1"]
    for day in range(2):
        at = START + day * 2 * DAYS
        jo.take(refusal(at, f"r-{day}"))
        assert jo.take(refusal(at, f"n{day}", other_id=f"r-{day}")) == []
    assert jo.rules == []


@pytest.mark.parametrize("minute", range(6))
def test_a_hard_bounce_that_comes_again_by_its_message_blacklists_once(minute):
    jo, at = AddressLife(), START + timedelta(minutes=minute)  # another fingerprint each
    assert jo.take(bounce("hard", at, "p-1")) == ["suppressed"]
    assert jo.take(bounce("hard", at, "m1", other_id="p-1")) == []


def test_a_copy_under_another_id_changes_nothing_but_that_this_is_known():
    jo = AddressLife()
    jo.take(bounce("soft", START, "m1"))
    before = jo.state
    for _ in range(2):
        jo.take(bounce("soft", START, "m1", other_id="p-1"))
        assert jo.state == replace(before, joined={"p-1": START})


def resend(at, *, attempt=2, message="m1", **more):
    return command("resend", at, message_id=message, attempt=attempt, **more)


def test_a_person_has_a_message_sent_again_as_its_next_attempt():
    life = AddressLife()
    wish = resend(START, id="c-ann", actor="Ann", reason="it got lost", record_type="family",
                   record_id="F-1")  # fmt: skip
    assert life.take(wish) == ["retry 2"]
    [request] = life.retries
    assert isinstance(request, ResendRequested)
    assert request.model_dump(exclude={"due_at"}) == {
        "id": retry_id(life.address, "m1", 2), "tenant_id": "acme", "channel": "email",
        "message_id": "m1", "recipient": "jo@example.com", "attempt": 2, "kind": "resend",
        "reason": "it got lost", "actor": "Ann", "record_type": "family", "record_id": "F-1",
        "command_id": "c-ann",
    }  # fmt: skip
    [note] = life.notes
    assert (note.reason_code, note.attempt, note.message_id) == ("resend_asked", 2, "m1")
    assert (note.diagnostic, note.provider_event_id) == ("by Ann: it got lost", "c-ann")


def test_a_number_gets_a_message_again_too():
    life = AddressLife("sms")
    assert life.take(resend(START, channel="sms")) == ["retry 2"]
    assert life.retries[0].channel == "sms"
    life.take(message_event("sent", START + MINUTES, channel="sms", attempt=2))
    assert life.take(resend(START + HOURS, channel="sms", attempt=3)) == ["retry 3"]


def test_the_same_command_twice_sends_once():
    life = AddressLife()
    wish = resend(START, id="once")
    assert life.take_all(wish, wish) == ["retry 2"]
    assert life.rejections == []


def test_who_asks_while_the_mailer_has_not_answered_is_told_so():
    life = AddressLife()
    life.take(resend(START))
    assert life.take(resend(START + 59 * MINUTES)) == []
    assert life.rejections == [
        "not sent again: that was asked for at 09:00 UTC, and the mailer has not done it yet"
    ]
    assert life.notes[-1].reason_code == "resend_refused"
    assert life.notes[-1].message_id == "m1"
    # After an hour it is the same request, which a mailer obeys once.
    assert life.take(resend(START + 61 * MINUTES)) == ["retry 2"]
    assert life.retries[0].id == life.retries[1].id


def test_who_saw_an_older_log_is_told_that_it_was_sent_meanwhile():
    life = AddressLife()
    life.take(resend(START))
    life.take(message_event("sent", START + MINUTES, attempt=2))
    assert life.take(resend(START + 2 * MINUTES)) == []
    assert life.rejections == ["not sent again: it was sent again meanwhile; look once more"]
    assert life.take(resend(START + 3 * MINUTES, attempt=3)) == ["retry 3"]


@pytest.mark.parametrize("rule", ["hard_bounce", "by_hand"])
def test_nothing_is_sent_again_to_a_blacklisted_address(rule):
    life = AddressLife()
    cause = {"hard_bounce": bounce("hard"), "by_hand": command("add", START)}[rule]
    life.take(cause)
    assert life.take(resend(START + MINUTES)) == []
    words = {"hard_bounce": "hard bounce", "by_hand": "listed by hand"}[rule]
    assert life.rejections == [f"not sent again: the address is blacklisted ({words})"]
    life.take(command("reset", START + HOURS))
    assert life.take(resend(START + 2 * HOURS)) == ["retry 2"]


def test_a_resend_takes_the_place_of_the_retry_that_waits():
    life = AddressLife()
    assert life.take(bounce(at=START)) == ["retry_scheduled"]
    assert life.take(resend(START + MINUTES)) == ["retry 2"]
    assert life.tick(START + 2 * HOURS) == []


def test_a_message_of_long_ago_is_sent_again_once():
    life = AddressLife()
    life.take(message_event("sent", START - 400 * DAYS, attempt=2))
    life.take(resend(START, attempt=3))
    assert life.take(resend(START + MINUTES, attempt=3)) == []
    assert life.next_wake_at is not None
    life.tick(START + 60 * DAYS)
    assert life.state.messages == {}
