"""What is on `delivery.policy-state` and `delivery.policy`, byte for byte, as it always was.

Both topics outlive a release: a worker reads the states that the last one wrote, and events and
commands that were fed before it started. The literals were written by the code before its names
changed; where a change of the format is meant, it has to go on reading these.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from processor.intake.decoder import Decoder
from processor.intake.policy_feed import entry_of, lines_of, to_records
from processor.kafka.batch_producer import OutgoingRecord
from processor.kafka.records import Chunk
from processor.policy import state_store
from processor.policy.config import Policy
from processor.policy.evolve import next_wake_at
from processor.policy.state import AddressState, MessageState, dump_state, load_state
from processor.policy.state_store import PartitionStates
from processor.settings import IntakeSettings
from schemas.addresses import Address
from schemas.bounces import default_rules
from schemas.decisions import Command, Reason
from schemas.events import MessageEvent

KEY = b"a%7Cb|email|jo@example.com"
JO = Address("a|b", "email", "jo@example.com")


def nine(day, milliseconds=0):
    """Return nine o'clock on a day of November 2026."""
    return datetime(2026, 11, day, 9, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


# ---- delivery.policy-state ----------------------------------------------------------------------

STATE_JSON = (
    b'{"reasons":{"hard_bounce":['
    b'{"rule":"hard_bounce","since":"2026-11-02T09:00:00Z","event_id":"e1","message_id":"m1",'
    b'"reason":"550 5.1.1 mailbox does not exist","rules_version":3},'
    b'{"rule":"hard_bounce","since":"2026-11-03T09:00:00Z","event_id":"e2"}],'
    b'"by_hand":[{"rule":"by_hand","since":"2026-11-04T09:00:00Z","event_id":"c1",'
    b'"reason":"left the school","actor":"Kim"}],'
    b'"soft_bounces":[{"rule":"soft_bounces","since":"2026-11-05T09:00:00Z",'
    b'"until":"2026-11-30T09:00:00Z","event_id":"e3","message_id":"m2",'
    b'"reason":"3 messages in a row softly bounced: 452 4.2.2"}]},'
    b'"past":[{"rule":"complaint","since":"2026-11-01T09:00:00Z",'
    b'"until":"2026-11-01T09:00:00.500000Z","event_id":"e4","message_id":"m0"}],'
    b'"cleared":{"complaint":"2026-11-01T09:00:00.500000Z",'
    b'"soft_bounces":"2026-11-01T09:00:00.500000Z"},'
    b'"done":{"e4":"2026-11-01T09:00:00.500000Z","c0":"2026-11-01T09:00:00.500000Z"},'
    b'"streak":{"m2":"2026-11-05T09:00:00Z","e5":"2026-11-06T09:00:00Z"},'
    b'"refusals":{"m5":"2026-11-08T09:00:00Z"},'
    b'"streak_from":"2026-11-01T09:00:00.500000Z",'
    b'"messages":{"m2":{"first_at":"2026-11-05T09:00:00Z",'
    b'"bounces":{"e3":[1,"2026-11-05T09:00:00Z"],"e6":[2,"2026-11-06T09:00:00.123000Z"]},'
    b'"sents":{"2":"2026-11-06T09:00:00Z","3":"2026-11-07T09:00:00Z"},"asked":4,'
    b'"due_at":"2026-11-08T09:00:00Z","reason":"452 4.2.2 mailbox is full"},'
    b'"m3":{"first_at":"2026-11-06T09:00:00Z","over":true},'
    b'"m4":{"first_at":"2026-11-06T09:00:00.001000Z","resent_at":"2026-11-07T09:00:00Z"}},'
    b'"joined":{"p-1":"2026-11-07T09:00:00Z"}}'
)
STATE = AddressState(
    reasons={
        "hard_bounce": (
            Reason(
                rule="hard_bounce", since=nine(2), event_id="e1", message_id="m1",
                reason="550 5.1.1 mailbox does not exist", rules_version=3,
            ),
            Reason(rule="hard_bounce", since=nine(3), event_id="e2"),
        ),
        "by_hand": (
            Reason(
                rule="by_hand", since=nine(4), event_id="c1", reason="left the school", actor="Kim"
            ),
        ),
        "soft_bounces": (
            Reason(
                rule="soft_bounces", since=nine(5), until=nine(30), event_id="e3", message_id="m2",
                reason="3 messages in a row softly bounced: 452 4.2.2",
            ),
        ),
    },
    ended=(
        Reason(
            rule="complaint", since=nine(1), until=nine(1, 500), event_id="e4", message_id="m0"
        ),
    ),
    cleared={"complaint": nine(1, 500), "soft_bounces": nine(1, 500)},
    applied_ids={"e4": nine(1, 500), "c0": nine(1, 500)},
    streak={"m2": nine(5), "e5": nine(6)},
    refusals={"m5": nine(8)},
    streak_from=nine(1, 500),
    messages={
        "m2": MessageState(
            first_at=nine(5),
            bounces={"e3": (1, nine(5)), "e6": (2, nine(6, 123))},
            sent_times={2: nine(6), 3: nine(7)},
            requested_attempt=4,
            due_at=nine(8),
            reason="452 4.2.2 mailbox is full",
        ),
        "m3": MessageState(first_at=nine(6), finished=True),
        "m4": MessageState(first_at=nine(6, 1), resent_at=nine(7)),
    },
    joined={"p-1": nine(7)},
)  # fmt: skip
STATE_RECORD = OutgoingRecord(
    "delivery.policy-state", KEY, STATE_JSON, (("wakes-at", b"1794128400000"),), 3
)

ENDLESS_JSON = (
    b'{"reasons":{"unsubscribe":['
    b'{"rule":"unsubscribe","since":"2026-11-02T09:00:00Z","event_id":"e1"}]}}'
)
ENDLESS = AddressState(
    reasons={"unsubscribe": (Reason(rule="unsubscribe", since=nine(2), event_id="e1"),)}
)

every_state = pytest.mark.parametrize(
    ("state", "text"),
    [(STATE, STATE_JSON), (ENDLESS, ENDLESS_JSON), (AddressState(), b"{}")],
    ids=["every field", "no wake", "empty"],
)


def test_the_example_has_every_field_of_a_state() -> None:
    empty, plain = AddressState(), MessageState(first_at=nine(6))
    assert all(getattr(STATE, each.name) != getattr(empty, each.name) for each in fields(STATE))
    messages = STATE.messages.values()
    for field in fields(plain):
        assert any(getattr(each, field.name) != getattr(plain, field.name) for each in messages)


@every_state
def test_a_state_is_read_as_it_was_written_and_written_again_the_same(state, text) -> None:
    assert load_state(text) == state
    assert dump_state(load_state(text)) == text
    assert dump_state(state) == text


def test_the_record_of_a_state_has_its_key_and_says_when_it_wakes() -> None:
    partition = PartitionStates(3, publisher=None)
    wakes_at = next_wake_at(STATE, Policy())
    assert wakes_at == nine(8)
    assert partition.to_record(JO, STATE, wakes_at) == STATE_RECORD


def test_a_state_that_time_does_not_change_has_no_header_and_an_empty_one_no_value() -> None:
    partition = PartitionStates(3, publisher=None)
    assert next_wake_at(ENDLESS, Policy()) is None
    assert partition.to_record(JO, ENDLESS, None) == OutgoingRecord(
        "delivery.policy-state", KEY, ENDLESS_JSON, (), 3
    )
    for wakes_at in (None, nine(8)):
        assert partition.to_record(JO, AddressState(), wakes_at) == OutgoingRecord(
            "delivery.policy-state", KEY, None, (), 3
        )


def test_a_record_that_is_read_back_gives_the_state_and_when_it_wakes() -> None:
    partition = PartitionStates(3, publisher=None)
    partition.fill([state_store._stored(STATE_RECORD)])
    assert partition.get(JO) == STATE
    assert partition.take_due(nine(8, -1), 10) == []
    assert partition.take_due(nine(8), 10) == [JO]
    partition.fill([state_store._stored(STATE_RECORD._replace(value=None, headers=()))])
    assert partition.get(JO) == AddressState()


# ---- delivery.policy ----------------------------------------------------------------------------

MAILER_RECORDS = (
    (
        b'{"channel":"email","kind":"bounce","tenant_id":"t","message_id":"m1","recipient":'
        b'" Jo@Example.COM ","occurred_at":"2026-11-02T10:00:00.123456+01:00","attempt":2,'
        b'"bounce_class":"soft","smtp_code":452,"enhanced_status":"4.2.2","reason_code":"full",'
        b'"diagnostic":"the mailbox is full","provider":"own","tags":["x"],"subject":"Hi",'
        b'"label":"Full","machine":false}'
    ),
    (
        b'{"channel":"email","kind":"sent","tenant_id":"t","message_id":"m2",'
        b'"recipient":"jo@example.com","occurred_at":"2026-11-02T09:00:00Z"}'
    ),
)
MAILER_FEED = (
    b'{"fact":{"channel":"email","kind":"bounce","tenant_id":"t","message_id":"m1",'
    b'"recipient":"jo@example.com","occurred_at":"2026-11-02T10:00:00.123000+01:00",'
    b'"provider":"own","attempt":2,"bounce_class":"soft","smtp_code":452,'
    b'"enhanced_status":"4.2.2","reason_code":"full","label":"Full","machine":false,'
    b'"recorded_at":1793610000000,"event_id":"195025855357c57c6fc70b9a047d57ef",'
    b'"diagnostic":"the mailbox is full"}}\n'
    b'{"fact":{"channel":"email","kind":"sent","tenant_id":"t","message_id":"m2",'
    b'"recipient":"jo@example.com","occurred_at":"2026-11-02T09:00:00Z",'
    b'"recorded_at":1793610000000,"event_id":"bdf3cadba8e75bb93a5e7a03b8575ade",'
    b'"diagnostic":""}}'
)
SES_RECORD = (
    b'{"eventType": "Bounce", "mail": {"messageId": "p", "tags": {"message_id": ["m3"]}}, '
    b'"bounce": {"bounceType": "Permanent", "timestamp": "2026-11-02T09:00:00.5Z", '
    b'"bouncedRecipients": [{"emailAddress": "li@example.com", "status": "5.1.1", '
    b'"diagnosticCode": "smtp; 550 5.1.1 no such user"}]}}'
)
SES_FEED = (
    b'{"fact":{"kind":"bounce","reason_code":"Permanent","label":"Permanent",'
    b'"occurred_at":"2026-11-02T09:00:00.500000Z","smtp_code":550,"enhanced_status":"5.1.1",'
    b'"recipient":"li@example.com","message_id":"m3","tenant_id":"acme","channel":"email",'
    b'"provider":"ses","recorded_at":1793610000000,"bounce_class":"hard",'
    b'"classified_by":"code","event_id":"416f7ff9aa4ddc957e4ff38272c9a97c",'
    b'"diagnostic":"smtp; 550 5.1.1 no such user"}}'
)
COMMAND_RECORDS = (
    (
        b'{"id":"c1","command":"reset","tenant_id":"t","channel":"sms",'
        b'"address":"0044 20 7946 0018","actor":"Kim","reason":"new phone",'
        b'"confirmed_complaint":true}'
    ),
    (
        b'{"id":"c2","command":"add","tenant_id":"t","channel":"email","address":"Jo@Example.com",'
        b'"actor":"Kim","reason":"left the school"}'
    ),
)
RESET_FEED = (
    b'{"command":{"id":"c1","command":"reset","tenant_id":"t","channel":"sms",'
    b'"address":"+442079460018","actor":"Kim","reason":"new phone","confirmed_complaint":true,'
    b'"asked_at":"2026-11-02T09:00:00Z"}}'
)
ADD_FEED = (
    b'{"command":{"id":"c2","command":"add","tenant_id":"t","channel":"email",'
    b'"address":"jo@example.com","actor":"Kim","reason":"left the school",'
    b'"confirmed_complaint":false,"asked_at":"2026-11-02T09:00:00Z"}}'
)
LOOKED_UP_FEED = (
    b'{"fact":{"channel":"email","kind":"sent","attempt":1,"occurred_at":"2026-11-02T09:00:00Z",'
    b'"tenant_id":"t","recipient":"jo@example.com","message_id":"m5","diagnostic":""}}'
)

#: What is fed when these arrive, by partition.
FEEDS = {
    "email.sends": (MAILER_RECORDS, {1: MAILER_FEED}),
    "email.events.ses": ((SES_RECORD,), {1: SES_FEED}),
    "delivery.commands": (COMMAND_RECORDS, {0: RESET_FEED, 1: ADD_FEED}),
}
DECODER = Decoder(
    IntakeSettings(feeds={"ses": "acme"}), max_record_bytes=10_000, rules=default_rules(),
    suppressed={("t", "email", "jo@example.com")}, policy_partitions=4,
)  # fmt: skip


def entries_of(value):
    return [entry_of(line) for line in lines_of(value)]


@pytest.mark.parametrize("topic", FEEDS)
def test_events_and_commands_are_fed_as_they_always_were(topic) -> None:
    values, feeds = FEEDS[topic]
    records = [
        SimpleNamespace(offset=offset, timestamp=1_793_610_000_000, value=value, headers=())
        for offset, value in enumerate(values)
    ]
    decoded = DECODER(Chunk(topic, 1, records))
    assert list(decoded.policy_records) == [
        OutgoingRecord("delivery.policy", None, feed, (), partition)
        for partition, feed in feeds.items()
    ]


def test_a_send_that_was_looked_up_is_fed_as_it_always_was() -> None:
    send = {
        "channel": "email", "kind": "sent", "attempt": 1, "occurred_at": nine(2),
        "tenant_id": "t", "recipient": "jo@example.com", "message_id": "m5",
    }  # fmt: skip
    [record] = to_records([send], [], 4)
    assert record == OutgoingRecord("delivery.policy", None, LOOKED_UP_FEED, (), 1)


def test_events_that_were_fed_are_read_as_they_were() -> None:
    (jo, bounce), (also_jo, send) = entries_of(MAILER_FEED)
    assert jo == also_jo == Address("t", "email", "jo@example.com")
    assert bounce == MessageEvent(
        channel="email", kind="bounce", tenant_id="t", message_id="m1", recipient="jo@example.com",
        occurred_at=nine(2, 123), recorded_at=nine(2), provider="own", attempt=2,
        bounce_class="soft", smtp_code=452, enhanced_status="4.2.2", reason_code="full",
        label="Full", machine=False, event_id="195025855357c57c6fc70b9a047d57ef",
        diagnostic="the mailbox is full",
    )  # fmt: skip
    assert send == MessageEvent(
        channel="email", kind="sent", tenant_id="t", message_id="m2", recipient="jo@example.com",
        occurred_at=nine(2), recorded_at=nine(2), event_id="bdf3cadba8e75bb93a5e7a03b8575ade",
    )  # fmt: skip
    [(li, hard)] = entries_of(SES_FEED)
    assert li == Address("acme", "email", "li@example.com")
    assert (hard.bounce_class, hard.occurred_at, hard.recorded_at) == (
        "hard", nine(2, 500), nine(2),
    )  # fmt: skip
    [(_, send)] = entries_of(LOOKED_UP_FEED)
    assert (send.attempt, send.recorded_at, send.event_id) == (1, None, "")


def test_commands_that_were_fed_are_read_as_they_were() -> None:
    [(number, reset)] = entries_of(RESET_FEED)
    assert number == Address("t", "sms", "+442079460018")
    assert reset == Command(
        id="c1", command="reset", tenant_id="t", channel="sms", address="+442079460018",
        actor="Kim", reason="new phone", confirmed_complaint=True, asked_at=nine(2),
    )  # fmt: skip
    [(address, add)] = entries_of(ADD_FEED)
    assert address == Address("t", "email", "jo@example.com")
    assert add == Command(
        id="c2", command="add", tenant_id="t", channel="email", address="jo@example.com",
        actor="Kim", reason="left the school", asked_at=nine(2),
    )  # fmt: skip


def test_an_event_out_of_the_store_is_read_though_it_has_nothing_in_some_columns() -> None:
    row = {
        "channel": "email", "kind": "complaint", "tenant_id": "t", "recipient": "jo@example.com",
        "message_id": "", "occurred_at": nine(2), "recorded_at": nine(2), "event_id": "e1",
        "bounce_class": "", "classified_by": "", "label": "", "diagnostic": "",
    }  # fmt: skip
    ((_, event),) = entries_of(to_records([row], [], 4)[0].value)
    assert (event.kind, event.bounce_class, event.classified_by) == ("complaint", None, None)
