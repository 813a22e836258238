"""Retries and the blacklist, rule by rule, as sections of a life of one address."""

from __future__ import annotations

from datetime import timedelta

import pytest

from processor.policy.config import Policy
from processor.policy.decide import decide
from processor.policy.retry_rules import waits
from processor.policy.state import State, dump, load
from tests.address_life import DAYS, HOURS, MINUTES, START, Watched, bounce, command, fact

MS = timedelta(milliseconds=1)


def soft_days(number, start=START, **fields):
    """Soft bounces of distinct messages, a day apart."""
    return [bounce("soft", start + n * DAYS, f"s{n}", **fields) for n in range(number)]


# ---- Retries ------------------------------------------------------------------------------------


def test_the_life_of_a_soft_bounce_that_is_delivered_at_the_second_retry():
    jo = Watched()
    assert jo.give(bounce("soft", START)) == ["retry_scheduled"]
    due = jo.facts[-1].due_at
    assert 13.5 * MINUTES <= due - START <= 16.5 * MINUTES
    assert jo.facts[-1].attempt == 2
    assert jo.wakes_at == due
    assert jo.tick(due - MS) == []
    assert jo.tick(due) == ["retry 2"]
    assert jo.retries[-1].reason.startswith("452 4.2.2")
    assert jo.tick(due + MS) == []
    assert jo.give(fact("sent", due + MINUTES, attempt=2)) == []
    assert jo.give(bounce("soft", due + 2 * MINUTES, attempt=2)) == ["retry_scheduled"]
    second = jo.facts[-1].due_at
    assert 54 * MINUTES <= second - (due + 2 * MINUTES) <= 66 * MINUTES
    assert jo.tick(second) == ["retry 3"]
    jo.all(fact("sent", second, attempt=3), fact("delivery", second + MINUTES, attempt=3))
    assert jo.give(bounce("soft", second + HOURS, attempt=3)) == []
    assert jo.tick(START + 3 * DAYS) == []
    jo.tick(START + 11 * DAYS)
    assert not jo.state.messages


def test_retries_used_up_are_exhausted_and_the_address_is_not_listed_for_that():
    jo = Watched()
    at = START
    for attempt in (1, 2, 3):
        assert jo.give(bounce("soft", at, attempt=attempt)) == ["retry_scheduled"]
        at = jo.facts[-1].due_at
        assert jo.tick(at) == [f"retry {attempt + 1}"]
        jo.give(fact("sent", at, attempt=attempt + 1))
        at += MINUTES
    assert jo.give(bounce("soft", at, attempt=4)) == ["retry_exhausted"]
    assert jo.facts[-1].diagnostic == "soft bounces: 4 of 4 attempts used"
    assert jo.facts[-1].attempt == 4
    assert jo.rules == []
    assert jo.give(bounce("soft", at + HOURS, attempt=4)) == []


@pytest.mark.parametrize("bounce_class", ["soft", "undetermined", None])
def test_soft_and_undetermined_bounces_are_retried(bounce_class):
    assert Watched().give(bounce(bounce_class)) == ["retry_scheduled"]


@pytest.mark.parametrize(
    "event",
    [
        fact("deferral"), fact("queued"), fact("sent"), fact("note"), bounce("block"),
        fact("failure"), fact("sent", channel="sms"), fact("undelivered", channel="sms"),
        fact("delivery"), fact("open", machine=True),
    ],
    ids=lambda event: event.kind,
)  # fmt: skip
def test_nothing_else_is_retried_or_listed(event):
    jo = Watched(event.channel)
    assert jo.give(event) == []
    assert jo.state.is_empty


def test_a_soft_bounce_of_no_known_message_is_not_retried():
    jo = Watched()
    assert jo.give(bounce("soft", message="")) == []
    assert len(jo.state.streak) == 1


def test_ten_copies_of_one_bounce_count_once():
    jo = Watched()
    assert jo.all(*[bounce("soft")] * 10) == ["retry_scheduled"]
    before = jo.state
    jo.give(bounce("soft"))
    assert jo.state == before
    assert len(jo.state.streak) == 1


@pytest.mark.parametrize(
    "event",
    [bounce("soft"), bounce("hard"), fact("complaint"), fact("unsubscribe"), fact("resubscribe"),
     fact("sent", attempt=2), command("add", START)],
    ids=lambda event: getattr(event, "kind", "command"),
)  # fmt: skip
def test_a_copy_decides_nothing(event):
    policy, now = Policy(), START + HOURS
    _, state = decide(State(), event, now, policy)
    assert state != State()
    assert decide(state, event, now, policy) == ((), state)


def test_another_notice_of_an_attempt_that_bounced_asks_for_nothing_more():
    jo = Watched()
    jo.give(bounce("soft", START))
    assert jo.give(bounce("soft", START + MINUTES, reason_code="other words")) == []


def test_an_older_attempts_bounce_that_comes_late_asks_for_nothing():
    jo = Watched()
    assert jo.give(bounce("soft", START + HOURS, attempt=2)) == ["retry_scheduled"]
    assert jo.facts[-1].attempt == 3
    assert jo.give(bounce("soft", START, attempt=1)) == []


def test_a_bounce_that_names_no_attempt_belongs_to_the_last_one_sent_before_it():
    jo = Watched()
    jo.give(bounce("soft", START))
    due = jo.facts[-1].due_at
    jo.tick(due)
    jo.give(fact("sent", due, attempt=2))
    assert jo.give(bounce("soft", due + MINUTES)) == ["retry_scheduled"]
    assert jo.facts[-1].attempt == 3


def test_it_does_so_also_if_that_sent_fact_comes_after_the_bounce():
    jo = Watched()
    jo.give(bounce("soft", START))
    due = jo.facts[-1].due_at
    jo.tick(due)
    assert jo.give(bounce("soft", due + MINUTES)) == []
    assert jo.give(fact("sent", due, attempt=2)) == ["retry_scheduled"]
    assert jo.facts[-1].attempt == 3
    assert jo.facts[-1].occurred_at == due + MINUTES


def test_an_attempt_made_unasked_answers_the_retry_that_was_waiting():
    jo = Watched()
    jo.give(bounce("soft", START))
    jo.give(fact("sent", START + MINUTES, attempt=2))
    assert jo.tick(START + HOURS) == []


@pytest.mark.parametrize("why", ["it was delivered", "it was opened", "its recipient complained"])
def test_a_message_that_the_log_knows_to_be_over_is_not_retried(why):
    jo = Watched()
    jo.give(bounce("soft", START))
    assert jo.tick(START + HOURS, over={"m1": why}) == []
    assert jo.tick(START + 2 * HOURS) == []
    known = Watched()
    assert known.give(bounce("soft", START), over={"m1": why}) == []
    assert known.tick(START + HOURS) == []


@pytest.mark.parametrize(
    "end",
    [
        fact("delivery"), fact("open"), fact("open", machine=True), fact("click"),
        fact("complaint"), bounce("hard"), bounce("block"), fact("failure"),
    ],
    ids=lambda event: f"{event.kind} {event.bounce_class} {event.machine}",
)  # fmt: skip
def test_a_message_that_arrived_or_cannot_is_not_retried(end):
    jo = Watched()
    jo.give(bounce("soft", START))
    jo.give(end, START + MINUTES)
    jo.retries.clear()
    assert "retry 2" not in jo.tick(START + HOURS)


def test_a_bounce_of_one_message_does_not_touch_the_retry_of_another():
    jo = Watched()
    jo.all(bounce("soft", START, "m1"), bounce("soft", START, "m2"))
    jo.give(fact("delivery", START + MINUTES, "m1"))
    assert jo.tick(START + HOURS) == ["retry 2"]
    assert jo.retries[0].message_id == "m2"


def test_a_retry_to_an_address_listed_meanwhile_is_refused():
    jo = Watched()
    jo.give(bounce("soft", START, "m1"))
    jo.give(bounce("hard", START + MINUTES, "m2"))
    assert jo.tick(START + HOURS) == ["invalid"]
    refusal = jo.facts[-1]
    assert (refusal.message_id, refusal.attempt) == ("m1", 1)
    assert refusal.diagnostic.startswith("hard bounce on 2026-11-02: 550 5.1.1")
    assert jo.retries == []


def test_a_soft_bounce_of_a_listed_address_is_refused_at_once():
    jo = Watched()
    jo.give(bounce("hard", START, "m2"))
    assert jo.give(bounce("soft", START + MINUTES, "m1")) == ["invalid"]


def test_a_retry_to_someone_unsubscribed_is_skipped():
    jo = Watched()
    jo.give(bounce("soft", START, "m1"))
    jo.give(fact("unsubscribe", START + MINUTES, "m2"))
    assert jo.tick(START + HOURS) == ["skipped"]


def test_no_retry_is_scheduled_later_than_the_horizon_after_the_first_attempt():
    jo = Watched(horizon=2 * HOURS)
    assert jo.give(bounce("soft", START + 2 * HOURS), first_at={"m1": START}) == ["retry_exhausted"]
    assert "within 2h of the first" in jo.facts[-1].diagnostic


def test_a_retry_that_could_not_be_asked_for_within_the_horizon_is_not_asked_for():
    jo = Watched()
    jo.give(bounce("soft", START))
    assert jo.tick(START + 72 * HOURS + MS) == ["retry_exhausted"]
    assert jo.tick(START + 72 * HOURS + HOURS) == []


def test_no_retries_at_all_means_that_the_first_soft_bounce_exhausts():
    assert Watched(retries=0).give(bounce("soft")) == ["retry_exhausted"]


def test_the_schedule_has_jitter_that_follows_from_the_message():
    policy = Policy()
    seen = {waits(policy, f"m{n}", 1) for n in range(1000)}
    assert 13.5 * MINUTES <= min(seen) < 13.6 * MINUTES
    assert 16.4 * MINUTES < max(seen) <= 16.5 * MINUTES
    assert waits(policy, "m1", 1) == waits(policy, "m1", 1)
    ratio = waits(policy, "m1", 2) / waits(policy, "m1", 1)
    assert ratio == pytest.approx(4)
    assert waits(policy, "m1", 9) == waits(policy, "m1", 3)


def test_a_retrys_id_follows_from_message_recipient_and_attempt():
    first, again = Watched(), Watched()
    for jo in (first, again):
        jo.give(bounce("soft"))
        jo.tick(START + HOURS)
    assert first.retries == again.retries
    assert len(first.retries[0].id) == 32
    other = Watched()
    other.give(bounce("soft", message="m2"))
    other.tick(START + HOURS)
    assert other.retries[0].id != first.retries[0].id


def test_a_state_lost_by_a_crash_asks_for_the_same_retry_again():
    jo = Watched()
    jo.give(bounce("soft"))
    before = jo.state
    jo.tick(START + HOURS)
    jo.state = before
    jo.tick(START + HOURS)
    assert jo.retries[0] == jo.retries[1]


# ---- What lists an address ----------------------------------------------------------------------


def test_the_life_of_a_hard_bounce():
    jo = Watched()
    assert jo.give(bounce("hard", START, "m1")) == ["suppressed"]
    entry = jo.entries[-1]
    assert (entry.rule, entry.effect, entry.since, entry.until) == (
        "hard_bounce", "invalid", START, None,
    )  # fmt: skip
    assert (entry.message_id, entry.actor) == ("m1", "sendlog")
    assert entry.reason == "550 5.1.1 mailbox does not exist"
    assert jo.give(fact("sent", START + HOURS, "m2")) == ["invalid"]
    assert jo.facts[-1].message_id == "m2"
    assert jo.facts[-1].rule == "hard_bounce"
    assert jo.give(command("reset", START + 2 * HOURS)) == ["reinstated"]
    assert jo.entries[-1] is None
    assert (jo.facts[-1].actor, jo.facts[-1].diagnostic) == ("Kim", "asked by phone")
    assert jo.give(fact("sent", START + 3 * HOURS, "m3")) == []
    assert jo.give(bounce("hard", START + 4 * HOURS, "m3")) == ["suppressed"]
    assert jo.facts[-1].change == "added"
    assert jo.entries[-1].since == START + 4 * HOURS


def test_a_hard_bounce_without_a_message_id_lists_the_address():
    jo = Watched()
    assert jo.give(bounce("hard", message="")) == ["suppressed"]
    assert jo.facts[-1].message_id == ""


def test_a_block_never_lists():
    jo = Watched()
    for n in range(20):
        assert jo.give(bounce("block", START + n * DAYS, f"m{n}")) == []
    assert jo.state.is_empty


def test_a_complaint_lists_and_its_reset_has_to_be_confirmed():
    jo = Watched()
    assert jo.give(fact("complaint")) == ["suppressed"]
    assert jo.give(command("reset", START + HOURS)) == []
    assert "confirmed" in jo.answers[-1]
    assert jo.rules == ["complaint"]
    assert jo.give(command("reset", START + HOURS, confirmed_complaint=True)) == ["reinstated"]
    assert jo.rules == []


def test_a_complaint_that_comes_after_an_unconfirmed_reset_is_not_forgiven_by_it():
    jo = Watched()
    jo.give(bounce("hard", START))
    jo.give(command("reset", START + 2 * HOURS))
    assert jo.give(fact("complaint", START + HOURS), START + 3 * HOURS) == ["suppressed"]


def test_a_complaint_taken_back_lists_nobody():
    assert Watched().give(fact("complaint", reason_code="not-spam")) == []


def test_an_sms_opt_out_lists_the_number_and_a_later_send_is_opted_out():
    jo = Watched("sms")
    assert jo.give(fact("opt_out", channel="sms")) == ["suppressed"]
    assert jo.give(fact("sent", START + HOURS, "m2", channel="sms")) == ["opt_out"]
    assert jo.give(jo.facts[-1]) == []
    jo.give(command("reset", START + 2 * HOURS, channel="sms"))
    assert jo.give(fact("sent", START + 3 * HOURS, "m3", channel="sms")) == []


def test_an_sms_to_a_number_listed_by_hand_has_failed():
    jo = Watched("sms")
    jo.give(command("add", START, channel="sms"))
    assert jo.give(fact("sent", START + HOURS, "m2", channel="sms")) == ["failed"]


def test_a_providers_echo_lists_and_a_mailers_own_refusal_does_not():
    jo = Watched()
    assert jo.give(fact("invalid", diagnostic="on our list")) == []
    assert jo.give(fact("invalid", provider="ses", diagnostic="on our list")) == ["suppressed"]
    assert (jo.entries[-1].rule, jo.entries[-1].reason) == ("echo", "on our list")


def test_our_own_decisions_lead_to_no_others():
    jo = Watched()
    jo.give(bounce("hard"))
    jo.give(fact("sent", START + HOURS, "m2"))
    for said in list(jo.facts):
        again = Watched()
        assert again.give(said) == []
        assert again.state.is_empty


def test_a_person_lists_an_address_by_hand():
    jo = Watched()
    assert jo.give(command("add", START, actor="Kim", reason="left the school")) == ["suppressed"]
    entry = jo.entries[-1]
    assert (entry.rule, entry.actor, entry.reason) == ("by_hand", "Kim", "left the school")
    assert jo.give(fact("sent", START + HOURS, "m2")) == ["invalid"]
    assert "by Kim" in jo.facts[-1].diagnostic
    jo.give(command("add", START + HOURS))
    assert jo.answers == ["it is blacklisted by hand already"]


@pytest.mark.parametrize(
    ("rule", "event"),
    [
        ("hard_bounce", bounce("hard")), ("complaint", fact("complaint")),
        ("echo", fact("invalid", provider="ses")),
    ],
)  # fmt: skip
def test_a_policy_says_what_lists(rule, event):
    others = {"hard_bounce", "complaint", "opt_out", "echo", "soft_bounces"} - {rule}
    assert Watched(blacklists=others).give(event) == []
    assert Watched(blacklists={rule}).give(event) == ["suppressed"]


def test_a_second_reason_extends_the_entry_and_the_strongest_leads():
    jo = Watched()
    jo.give(bounce("hard", START))
    assert jo.give(fact("complaint", START + HOURS, "m2")) == ["suppressed"]
    assert jo.facts[-1].change == "extended"
    assert jo.entries[-1].rule == "complaint"
    assert [each.rule for each in jo.entries[-1].also] == ["hard_bounce"]


def test_a_second_hard_bounce_changes_no_entry():
    jo = Watched()
    jo.give(bounce("hard", START))
    assert jo.give(bounce("hard", START + DAYS, "m2")) == []
    assert len(jo.entries) == 1


def test_an_entry_quotes_the_version_of_the_bounce_rules():
    jo = Watched(rules_version=7)
    jo.give(bounce("hard"))
    assert (jo.entries[-1].rules_version, jo.facts[-1].rules_version) == (7, 7)


# ---- Unsubscribes -------------------------------------------------------------------------------


def test_an_unsubscribe_skips_later_sends_and_no_bounce_overrides_it():
    jo = Watched()
    assert jo.give(fact("unsubscribe")) == ["suppressed"]
    assert jo.entries[-1].effect == "skipped"
    assert jo.give(fact("sent", START + HOURS, "m2")) == ["skipped"]
    jo.give(bounce("hard", START + 2 * HOURS, "m2"))
    assert jo.entries[-1].effect == "skipped"
    assert jo.give(fact("sent", START + 3 * HOURS, "m3")) == ["skipped"]


def test_a_reset_lifts_the_block_beside_an_unsubscribe_but_not_that():
    jo = Watched()
    jo.all(fact("unsubscribe"), bounce("hard", START + HOURS, "m2"))
    assert jo.give(command("reset", START + 2 * HOURS)) == ["reinstated"]
    assert jo.rules == ["unsubscribe"]
    jo.give(command("reset", START + 3 * HOURS))
    assert "only a new subscription" in jo.answers[-1]


def test_a_new_subscription_ends_an_unsubscribe_and_nothing_else():
    jo = Watched()
    jo.all(fact("unsubscribe"), bounce("hard", START + HOURS, "m2"))
    assert jo.give(fact("resubscribe", START + 2 * HOURS, "m3")) == ["reinstated"]
    assert jo.rules == ["hard_bounce"]
    assert jo.give(fact("unsubscribe"), START + 3 * HOURS) == []
    assert jo.give(fact("unsubscribe", START + 4 * HOURS)) == ["suppressed"]


# ---- Streaks of soft bounces --------------------------------------------------------------------


def test_five_messages_in_a_row_a_day_apart_list_the_address_for_thirty_days():
    jo = Watched()
    for each in soft_days(4):
        assert jo.give(each) == ["retry_scheduled"]
        assert jo.tick(each.occurred_at + HOURS) == ["retry 2"]
    assert jo.give(bounce("soft", START + 4 * DAYS, "s4")) == ["suppressed", "invalid"]
    entry = jo.entries[-1]
    assert (entry.rule, entry.until) == ("soft_bounces", START + 34 * DAYS)
    assert "5 messages in a row" in entry.reason
    assert jo.give(fact("sent", START + 20 * DAYS, "m9")) == ["invalid"]
    assert jo.tick(START + 34 * DAYS - MS) == []
    assert jo.tick(START + 34 * DAYS) == ["reinstated"]
    assert (jo.facts[-1].change, jo.facts[-1].occurred_at) == ("expired", START + 34 * DAYS)
    assert jo.entries[-1] is None
    assert jo.give(fact("sent", START + 35 * DAYS, "m10")) == []
    assert jo.give(bounce("soft", START + 36 * DAYS, "m10")) == ["retry_scheduled"]


def test_an_entry_expires_before_a_fact_after_it_even_without_a_tick():
    jo = Watched()
    jo.all(*soft_days(5))
    assert jo.give(fact("sent", START + 40 * DAYS, "m9")) == ["reinstated"]


def test_another_soft_bounce_extends_the_entry():
    jo = Watched()
    jo.all(*soft_days(5))
    assert jo.give(bounce("soft", START + 10 * DAYS, "m9")) == ["suppressed", "invalid"]
    assert jo.facts[-2].change == "extended"
    assert jo.entries[-1].until == START + 40 * DAYS


def test_one_message_counts_once_however_often_it_bounces():
    jo = Watched(soft_threshold=2)
    jo.give(bounce("soft", START))
    jo.give(fact("sent", START + DAYS, attempt=2))
    jo.give(bounce("soft", START + 2 * DAYS, attempt=2))
    assert jo.rules == []
    jo.give(bounce("soft", START + 2.5 * DAYS, "m2"))
    assert jo.rules == ["soft_bounces"]


def test_at_most_one_message_counts_in_twenty_four_hours():
    jo = Watched(soft_threshold=2)
    for n in range(24):
        jo.give(bounce("soft", START + n * HOURS, f"m{n}"))
    assert jo.rules == []
    jo.give(bounce("soft", START + 24 * HOURS, "m24"))
    assert jo.rules == ["soft_bounces"]


@pytest.mark.parametrize(
    "good", [fact("delivery", START + 3.5 * DAYS, "d"), fact("open", START + 3.5 * DAYS, "d"),
             fact("click", START + 3.5 * DAYS, "d", machine=False)], ids=lambda e: e.kind,
)  # fmt: skip
def test_a_delivery_open_or_click_between_resets_the_streak(good):
    jo = Watched()
    jo.all(*soft_days(4), good)
    jo.give(bounce("soft", START + 4 * DAYS, "s4"))
    assert jo.rules == []
    heard = Watched()
    heard.all(*soft_days(4))
    heard.give(bounce("soft", START + 4 * DAYS, "s4"), good_at=good.occurred_at)
    assert heard.rules == []
    heard.all(*soft_days(3, START + 5 * DAYS))
    assert heard.rules == []
    heard.give(bounce("soft", START + 8 * DAYS, "s9"))
    assert heard.rules == ["soft_bounces"]


def test_a_machines_open_resets_no_streak():
    jo = Watched()
    jo.all(*soft_days(4), fact("open", START + 3.5 * DAYS, "d", machine=True))
    jo.give(bounce("soft", START + 4 * DAYS, "s4"))
    assert jo.rules == ["soft_bounces"]


def test_a_soft_bounce_older_than_the_last_delivery_does_not_count():
    jo = Watched(soft_threshold=1)
    jo.give(bounce("soft", START), good_at=START + HOURS)
    assert jo.rules == []


def test_a_reset_clears_the_counters():
    jo = Watched()
    jo.all(*soft_days(4))
    assert jo.give(command("reset", START + 3.5 * DAYS)) == []
    assert jo.answers == []
    jo.give(bounce("soft", START + 4 * DAYS, "s4"))
    assert jo.rules == []


# ---- Resets -------------------------------------------------------------------------------------


def test_a_redelivered_old_hard_bounce_does_not_list_again_after_a_reset():
    jo = Watched()
    old = bounce("hard", START)
    jo.all(old, command("reset", START + HOURS))
    assert jo.give(old, START + 2 * HOURS) == []
    stamped_anew = old.model_copy(update={"occurred_at": START + 3 * HOURS, "recorded_at": None})
    assert jo.give(stamped_anew) == []
    assert jo.give(bounce("hard", START - HOURS, "m0"), START + 4 * HOURS) == []
    jo.tick(START + 400 * DAYS)
    assert jo.give(old, START + 400 * DAYS) == []


def test_a_hard_bounce_after_the_reset_stands_even_if_it_comes_before_it():
    jo = Watched()
    jo.all(bounce("hard", START), bounce("hard", START + 2 * HOURS, "m2"))
    assert jo.give(command("reset", START + HOURS), START + 3 * HOURS) == [
        "reinstated", "suppressed",
    ]  # fmt: skip
    assert jo.rules == ["hard_bounce"]
    assert jo.entries[-1].since == START + 2 * HOURS


def test_a_reset_that_comes_twice_lifts_nothing_later():
    jo = Watched()
    reset = command("reset", START + HOURS)
    jo.all(bounce("hard", START), reset, bounce("hard", START + 2 * HOURS, "m2"))
    assert jo.give(reset, START + 3 * HOURS) == []
    assert jo.rules == ["hard_bounce"]
    assert jo.answers == []


def test_a_reset_of_what_is_not_listed_says_so_and_leaves_nothing_behind():
    jo = Watched()
    assert jo.give(command("reset", START)) == []
    assert jo.answers == ["it is not blacklisted"]
    assert jo.state.is_empty


def test_an_entry_by_hand_that_was_reset_before_it_arrived_says_so():
    jo = Watched()
    jo.all(bounce("hard", START), command("reset", START + 2 * HOURS))
    jo.give(command("add", START + HOURS), START + 3 * HOURS)
    assert jo.answers == ["it was reset after this was asked for"]


def test_a_bounce_dated_in_the_future_can_be_reset():
    jo = Watched()
    jo.give(bounce("hard", START + 900 * DAYS, recorded_at=START))
    jo.give(command("reset", START + HOURS))
    assert jo.rules == []


# ---- Refusals -----------------------------------------------------------------------------------


def test_a_send_is_refused_only_if_the_address_was_listed_at_its_time():
    jo = Watched()
    jo.give(bounce("hard", START + HOURS, "m1"))
    jo.give(command("reset", START + 3 * HOURS))
    assert jo.give(fact("sent", START, "m2"), START + 5 * HOURS) == []
    assert jo.give(fact("sent", START + 2 * HOURS, "m3"), START + 5 * HOURS) == ["invalid"]
    assert jo.give(fact("sent", START + 4 * HOURS, "m4"), START + 5 * HOURS) == []


def test_the_message_that_listed_the_address_is_not_refused_whatever_the_clocks_say():
    jo = Watched()
    jo.give(bounce("hard", START, "m1"))
    assert jo.give(fact("sent", START + MS, "m1")) == []


def test_a_refusal_said_twice_is_the_same_fact():
    jo = Watched()
    jo.all(bounce("hard", START), *[fact("sent", START + HOURS, "m2")] * 2)
    assert jo.facts[-1].event_id == jo.facts[-2].event_id


# ---- What is remembered -------------------------------------------------------------------------


def test_an_address_whose_trouble_is_over_is_forgotten():
    jo = Watched(soft_threshold=2)
    jo.all(*soft_days(2))
    steps = 0
    while (wake := jo.wakes_at) is not None:
        jo.tick(wake + MS)
        steps += 1
        assert steps < 50
    assert jo.state == State()
    assert dump(jo.state) == b"{}"


def test_a_state_is_small_however_much_happens():
    jo = Watched()
    for n in range(2000):
        at = START + n * HOURS
        jo.give(bounce("soft", at, f"message-{n}"))
        jo.tick(at + 30 * MINUTES)
        jo.give(bounce("hard", at, f"message-{n}", diagnostic="x" * 5000))
        if n % 50 == 0:
            jo.give(command("reset", at + MINUTES))
    assert len(dump(jo.state)) < 40_000


def test_what_is_serialised_is_read_back_the_same():
    jo = Watched()
    jo.all(
        *soft_days(5), bounce("hard", START + 5 * DAYS, "m1"), command("reset", START + 6 * DAYS),
        fact("sent", START + 6 * DAYS, attempt=2), fact("unsubscribe", START + 7 * DAYS),
    )  # fmt: skip
    assert load(dump(jo.state)) == jo.state
    assert load(dump(jo.state).decode()) == jo.state


def test_every_step_of_a_retry_and_a_refused_command_are_noted():
    jo = Watched()
    jo.give(bounce("soft", START))
    due_at = jo.state.messages["m1"].due_at
    jo.tick(due_at)
    jo.give(fact("delivery", due_at + HOURS, attempt=2))
    jo.give(command("reset", due_at + 2 * HOURS, name="c-1"))
    assert [(said.reason_code, said.attempt) for said in jo.notes] == [
        ("retry_asked", 2), ("retry_cancelled", 3), ("command_refused", 1),
    ]  # fmt: skip
    asked, _, refused = jo.notes
    assert (asked.occurred_at, asked.due_at) == (due_at, due_at)
    assert (refused.change, refused.cause_event_id, refused.actor) == ("refused", "c-1", "Kim")


def test_a_reset_that_only_clears_the_counters_is_noted_for_whoever_asked():
    jo = Watched()
    jo.all(*soft_days(2), command("reset", START + 3 * DAYS, name="c-1"))
    (noted,) = [said for said in jo.notes if said.reason_code == "streak_reset"]
    assert (noted.change, noted.cause_event_id, noted.rule) == ("reset", "c-1", None)
