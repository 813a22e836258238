"""The policy forgets an address: nothing is kept of it, and its pseudonym is refused as it was."""

from __future__ import annotations

import json
from datetime import timedelta

from processor.intake.policy_feed import (
    Forget,
    KeptReasons,
    entry_of,
    forget_record,
    kept_record,
    partition_of,
)
from processor.policy.batch import Batch, Entry
from processor.policy.config import Policies, Policy
from processor.policy.decide import decide
from processor.policy.outputs import to_outputs
from processor.policy.state import AddressState, dump_state
from processor.policy.state_store import PartitionStates
from schemas.addresses import Address
from tests.address_life import DAYS, HOURS, START, AddressLife, bounce, command, message_event

PSEUDONYM = "7055e118f2dae54089207d905042aa68@forgotten.invalid"
FORGET = Forget(tenant_id="acme", channel="email", address="jo@example.com", pseudonym=PSEUDONYM)


def forget(life, at=START + DAYS):
    """Forget the address of a life; return what goes on to the pseudonym."""
    decisions, after = decide(life.state, FORGET, at, life.policy)
    outputs = to_outputs(life.address, life.state, decisions, after)
    life.state = after
    return outputs


def pseudonym_life(*kept, at=START + DAYS):
    life = AddressLife()
    life.address = Address("acme", "email", PSEUDONYM)
    for each in kept:
        life.take(each, at)
    return life


def test_nothing_is_kept_of_the_address_and_its_entry_ends_without_a_word():
    life = AddressLife()
    life.take_all(message_event("unsubscribe"), bounce("hard", diagnostic="no user Jo Smith"))
    outputs = forget(life)
    assert life.state == AddressState()
    assert (outputs.entry_changed, outputs.entry) == (True, None)
    assert (outputs.events, outputs.retries) == ((), ())
    [kept] = outputs.kept
    assert [reason.rule for reason in kept.reasons] == ["unsubscribe", "hard_bounce"]
    assert b"jo" not in kept.model_dump_json().encode().lower()


def test_a_send_to_the_pseudonym_is_refused_for_the_same_reason():
    life = AddressLife()
    life.take(bounce("hard"))
    pseudonym = pseudonym_life(*forget(life).kept)
    assert pseudonym.rules == ["hard_bounce"]
    assert pseudonym.entries[-1].address == PSEUDONYM
    send = message_event("sent", START + 2 * DAYS, "m9", recipient=PSEUDONYM)
    assert pseudonym.take(send) == ["invalid"]


def test_who_was_not_blacklisted_leaves_nothing():
    life = AddressLife()
    life.take(bounce("soft"))
    assert life.state.messages
    outputs = forget(life)
    assert (life.state.is_empty, outputs.kept, outputs.entry_changed) == (True, (), False)


def test_to_forget_twice_does_nothing_more():
    life = AddressLife()
    life.take(bounce("hard"))
    kept = forget(life).kept
    assert decide(life.state, FORGET, START + DAYS, life.policy) == ((), life.state)
    once, twice = pseudonym_life(*kept), pseudonym_life(*kept, *kept)
    assert twice.state == once.state
    assert len(twice.entries) == 1


def test_a_reset_of_the_pseudonym_lasts_though_the_reasons_come_once_more():
    life = AddressLife()
    life.take(bounce("hard"))
    kept = forget(life).kept
    pseudonym = pseudonym_life(*kept)
    reset = command("reset", START + 2 * DAYS).model_copy(update={"address": PSEUDONYM})
    pseudonym.take(reset)
    pseudonym.take(kept[0], START + 3 * DAYS)
    assert pseudonym.rules == []


def test_nobody_is_asked_to_send_to_a_pseudonym_again():
    life = pseudonym_life()
    life.take(bounce("soft", recipient=PSEUDONYM))
    assert life.tick(START + 12 * HOURS) == []
    resend = command("resend", START + HOURS, message_id="m1", attempt=2)
    life.take(resend.model_copy(update={"address": PSEUDONYM}))
    assert life.rejections == ["not sent again: its recipient was forgotten"]


def test_the_batch_publishes_tombstones_and_what_is_kept_together():
    partition = PartitionStates(3, publisher=None)
    life = AddressLife()
    life.take(bounce("hard"))
    address = life.address
    partition.keep([partition.to_record(address, life.state, None)])
    batch = Batch(partition, [Entry(address, FORGET)], {"acme": ["shop"]})
    assert batch.messages_to_look_up(START) == {}
    outcome = batch.decide(Policies(Policy()), {}, START + timedelta(days=1))
    by_topic = {record.topic: record for record in outcome.records}
    assert by_topic["delivery.suppressions"].value is None
    assert by_topic["delivery.suppressions.shop"].value is None
    assert by_topic["delivery.policy-state"].value is None
    carried = by_topic["delivery.policy"]
    assert carried.partition == 3
    pseudonym, kept = entry_of(carried.value)
    assert pseudonym == Address("acme", "email", PSEUDONYM)
    assert [reason.rule for reason in kept.reasons] == ["hard_bounce"]


def test_lines_about_who_is_forgotten_are_read_as_they_were_written():
    record = forget_record(FORGET, 8)
    assert json.loads(record.value) == {"forget": FORGET.model_dump()}
    assert entry_of(record.value) == (FORGET.target, FORGET)
    assert record.partition == partition_of(FORGET.target, 8)
    kept = KeptReasons(tenant_id="acme", channel="email", pseudonym=PSEUDONYM, reasons=())
    assert entry_of(kept_record(kept, 2).value) == (kept.target, kept)
    assert dump_state(AddressState()) == b"{}"
