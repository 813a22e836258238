"""The demo feed: reproducible, complete, and honest about what the log must say."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import Event
from typing import get_args
from urllib.parse import parse_qs

import pytest

from processor.demo.broken import broken_records
from processor.demo.business import fresh_phone, reserved_phone
from processor.demo.plan import Plan, paced, planned_records, to_json_line
from processor.demo.scenarios import (
    EMAIL_SCENARIOS,
    SCENARIOS,
    SMS_SCENARIOS,
    Status,
    records_per_message,
)
from processor.demo.traffic import Pace, disturbed, every_scenario, in_order, messages
from schemas.events import KINDS_BY_CHANNEL, MessageEvent, milliseconds
from schemas.providers import adapters, decode

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
EMAIL_STATUSES = {"Sent", "Delivery", "Open", "Click", "Bounce", "Invalid", "Skipped"}
SMS_STATUSES = {
    "Queued", "Sent", "Delivered", "Received", "Rejected", "Undelivered", "Failed",
}  # fmt: skip
RESERVED = re.compile(r"[a-z.+0-9]+@example\.(com|org|net)|\+1[2-9]\d\d55501\d\d|\+447700900\d{3}")


def sample(count=3000, seed=7, **options):
    return list(islice(messages(seed, START, **options), count))


def events_of(message):
    return [
        MessageEvent.model_validate_json(record.value)
        for record in message.records
        if record.topic.endswith(".sends")
    ]


def steps_of(message):
    table = SCENARIOS[message.expected.channel]
    return next(s.steps for s in table if s.name == message.expected.scenario)


def test_one_seed_and_start_give_the_same_bytes():
    assert sample(300) == sample(300)
    assert sample(300) != sample(300, seed=8)


def test_a_business_keeps_its_addresses_when_it_goes_on_writing():
    later = islice(messages(7, START + timedelta(days=9)), 3000)
    reused = {m.expected.recipient for m in sample()} & {m.expected.recipient for m in later}
    assert len(reused) > 300


@pytest.mark.parametrize("raw", [True, False])
def test_every_scenario_and_status_comes_up_soon(raw):
    sampled = [m.expected for m in sample(raw=raw)]
    for channel, statuses in (("email", EMAIL_STATUSES), ("sms", SMS_STATUSES)):
        of_channel = [expected for expected in sampled if expected.channel == channel]
        assert {expected.status for expected in of_channel} == statuses
        assert {e.scenario for e in of_channel} == {s.name for s in SCENARIOS[channel]}
    assert set(get_args(Status)) == EMAIL_STATUSES | SMS_STATUSES


def test_scenario_names_are_unique_and_their_kinds_belong_to_the_channel():
    for channel, table in SCENARIOS.items():
        assert len({scenario.name for scenario in table}) == len(table)
        assert {step.kind for scenario in table for step in scenario.steps} <= KINDS_BY_CHANNEL[
            channel
        ]
    assert [m.expected.scenario for m in every_scenario(1, START)] == [
        scenario.name for scenario in (*EMAIL_SCENARIOS, *SMS_SCENARIOS)
    ]


def test_a_row_of_the_log_comes_from_one_message_only():
    keys = [(m.expected.channel, m.expected.message_id, m.expected.recipient) for m in sample()]
    assert len(set(keys)) == len(keys)


def test_an_address_that_a_story_spoils_is_written_to_once():
    spoiling = {scenario.name for scenario in (*EMAIL_SCENARIOS, *SMS_SCENARIOS) if scenario.spoils}
    uses = Counter(m.expected.recipient for m in sample(6000))
    spoilt = [m.expected for m in sample(6000) if m.expected.scenario in spoiling]
    assert len(spoilt) > 300
    assert {uses[expected.recipient] for expected in spoilt} == {1}


def test_blasts_share_a_message_id_or_have_one_for_each_family():
    shared = Counter(m.expected.message_id for m in sample() if m.expected.channel == "email")
    assert max(shared.values()) > 10
    assert min(shared.values()) == 1
    by_campaign = [f[0] for m in sample() if (f := events_of(m)) and f[0].campaign == "tuition"]
    assert len({event.message_id for event in by_campaign}) > 10


def test_facts_are_message_events_and_say_what_the_story_says():
    for message in sample(raw=False):
        assert len(events_of(message)) == len(message.records)
        for step, event, record in zip(
            steps_of(message), events_of(message), message.records, strict=True
        ):
            assert (event.kind, event.attempt) == (step.kind, step.attempt)
            assert milliseconds(event.occurred_at) == record.timestamp_ms
            assert event.recipient.encode() == record.key
            expected = message.expected
            key = (event.channel, event.tenant_id, event.message_id, event.recipient)
            assert key == expected[:4]
            assert event.record_id
            assert (step.by == "mailer") == bool(event.subject or event.text)
            assert (step.by == "provider") == bool(event.provider and event.provider_message_id)


def test_the_outcome_agrees_with_what_can_be_counted_in_the_story():
    for message in every_scenario(3, START, raw=False):
        events, expected = events_of(message), message.expected
        persons = Counter(event.kind for event in events if not event.machine)
        assert persons["open"] == expected.open_count
        assert persons["click"] == expected.click_count
        assert len(
            {f.attempt for f in events if f.kind == "bounce" and f.bounce_class == "soft"}
        ) == (expected.soft_bounce_count)
        assert max(event.attempt for event in events) == expected.attempts
        assert any(event.machine for event in events) == expected.machine_opened
        assert ("complaint" in persons) == expected.complained
        assert ("unsubscribe" in persons) == expected.unsubscribed


def test_stories_run_forward_and_messages_begin_in_order():
    sampled = sample()
    for message in sampled:
        times = [record.timestamp_ms for record in message.records]
        assert times == sorted(set(times))
    begins = [message.records[0].timestamp_ms for message in sampled]
    assert begins == sorted(begins)


def test_pace_spreads_messages_squeezes_stories_and_ends_them_in_time():
    until = START + timedelta(days=30)
    sampled = sample(3000, pace=Pace(gap=30 * 86_400 / 3000, until=until))
    last = sampled[-1].records[0].timestamp_ms
    assert milliseconds(START) + 25 * 86_400_000 < last < milliseconds(START) + 35 * 86_400_000
    assert all(
        record.timestamp_ms <= max(milliseconds(until), message.records[0].timestamp_ms) + 20
        for message in sampled
        for record in message.records
    )
    fast = sample(pace=Pace(squeeze=86_400))
    assert max(m.records[-1].timestamp_ms - m.records[0].timestamp_ms for m in fast) < 3000


def test_records_per_message_is_what_traffic_gives():
    sampled = sample(6000)
    share = sum(len(message.records) for message in sampled) / len(sampled)
    assert share == pytest.approx(records_per_message(), rel=0.05)


def test_all_addresses_and_numbers_are_reserved():
    for message in sample(6000):
        assert RESERVED.fullmatch(message.expected.recipient), message.expected.recipient
    for number in range(70_000):
        assert RESERVED.fullmatch(reserved_phone(number))
        assert RESERVED.fullmatch(fresh_phone(number))
    assert not {reserved_phone(n) for n in range(60_000)} & {fresh_phone(n) for n in range(40_000)}
    text = b"\n".join(record.value for message in sample() for record in message.records).decode()
    domains = set(re.findall(r"@([\w.-]+)", text))
    assert domains <= {"example.com", "example.org", "example.net", "studio.example.com"}


def test_raw_pushes_are_json_or_forms_that_name_the_message():
    topics = Counter()
    for message in sample():
        for record in message.records:
            topics[record.topic] += 1
            headers = dict(record.headers)
            if record.topic == "sms.events.twilio":
                form = parse_qs(record.value.decode(), strict_parsing=True)
                query = parse_qs(headers["x-callback-query"].decode(), strict_parsing=True)
                assert form["To"] == [message.expected.recipient]
                assert query["message_id"] == [message.expected.message_id]
                assert query["tenant_id"] == ["demo"]
            elif record.topic == "email.events.ses":
                body = json.loads(record.value)
                event = json.loads(body["Message"]) if "Message" in body else body
                event = event.get("detail", event)
                assert event["mail"]["tags"]["message_id"] == [message.expected.message_id]
                assert event["mail"]["destination"] == [message.expected.recipient]
                assert ("x-amz-sns-message-id" in headers) == ("Message" in body)
    assert set(topics) == {"email.sends", "sms.sends", "email.events.ses", "sms.events.twilio"}


def adapter_of(record):
    return adapters().get(record.topic.rsplit(".", 1)[1])


def decoded(record):
    headers = {name: value.decode() for name, value in record.headers}
    return decode(adapter_of(record), record.value, headers, record.timestamp_ms, "not-said")


def test_raw_pushes_decode_to_what_the_story_says():
    stories = [*every_scenario(1, START), *sample(1500)]
    for message in stories:
        expected = message.expected
        for step, record in zip(steps_of(message), message.records, strict=True):
            if record.topic.endswith(".sends"):
                continue
            result = decoded(record)
            assert not result.rejected, result.rejected
            (event,) = result.events
            key = (event["channel"], event["tenant_id"], event["message_id"], event["recipient"])
            assert key == expected[:4]
            assert event["kind"] == step.kind, expected.scenario
            assert event.get("attempt", 1) == step.attempt
            assert milliseconds(event["occurred_at"]) == record.timestamp_ms
            classes = {detail.get("bounce_class") for detail in step.alternatives}
            assert event.get("bounce_class") in classes
            for name in ("enhanced_status", "smtp_code", "reason_code", "url"):
                values = {detail.get(name) for detail in step.alternatives}
                assert (event.get(name) or None) in values | {None}
            assert event["record_id"]


def test_broken_records_that_are_pushes_decode_as_noted():
    for case in broken_records(1, START):
        if case.record.topic.endswith(".sends") or not adapter_of(case.record):
            continue
        assert bool(decoded(case.record).rejected) == case.dead_letter, case.note


def test_broken_facts_are_refused_as_noted():
    for case in broken_records(1, START):
        if not case.record.topic.endswith(".sends"):
            continue
        if case.dead_letter:
            with pytest.raises(ValueError, match=r".+"):
                MessageEvent.model_validate_json(case.record.value)
        else:
            MessageEvent.model_validate_json(case.record.value)


def test_disturbed_loses_nothing_and_repeats_the_share_asked_for():
    sampled = sample()
    sent = Counter(in_order(sampled))
    received = Counter(disturbed(sampled, 5, duplicates=0.1, window=500, late=0.01))
    assert set(received) == set(sent)
    assert all(received[record] >= times for record, times in sent.items())
    repeated = received.total() - sent.total()
    assert repeated / sent.total() == pytest.approx(0.1, abs=0.02)
    assert list(disturbed(sampled, 5)) == list(disturbed(sampled, 5))


def test_disturbed_reorders_within_the_window_and_holds_a_few_back_for_long():
    sampled = sample()
    place = {record: index for index, record in enumerate(in_order(sampled))}
    arrivals = list(disturbed(sampled, 5, duplicates=0, window=200, late=0.01))
    behind = [index - place[record] for index, record in enumerate(arrivals)]
    assert sum(1 for distance in behind if distance > 3000) / len(arrivals) == pytest.approx(
        0.01, abs=0.005
    )
    assert arrivals != sorted(arrivals, key=lambda record: record.timestamp_ms)
    assert min(behind) > -500


def test_in_order_merges_stories_by_time():
    times = [record.timestamp_ms for record in in_order(sample())]
    assert times == sorted(times)
    assert len(times) == sum(len(message.records) for message in sample())


@pytest.mark.parametrize("disturb", [True, False])
def test_a_plan_publishes_history_then_live_traffic_and_writes_the_oracle(disturb):
    oracle = io.StringIO()
    plan = Plan(seed=1, backlog=200, count=260, rate=1000, disturb=disturb, broken=True)
    records = list(planned_records(plan, START, Event(), oracle))
    lines = [json.loads(line) for line in oracle.getvalue().splitlines()]
    assert len(lines) == 260
    assert {line["tenant_id"] for line in lines} == {"demo"}
    past = [record for record in records if record.timestamp_ms <= milliseconds(START)]
    assert len(past) > 200 * 2
    assert min(r.timestamp_ms for r in records) >= milliseconds(START - timedelta(days=30))
    assert {line["recipient"].encode() for line in lines} <= {r.key for r in records}


@pytest.mark.parametrize("backlog", [1, 50, 4000])
def test_history_ends_before_now(backlog):
    plan = Plan(seed=3, backlog=backlog, count=backlog)
    times = [r.timestamp_ms for r in planned_records(plan, START, Event(), None)]
    now = milliseconds(START)
    assert max(times) < now + 20  # steps squeezed into the last moment stay one ms apart
    assert min(times) < now - 5 * 86_400_000


def test_a_stopped_plan_tells_no_more_messages_but_ends_those_it_told():
    oracle, stop = io.StringIO(), Event()
    records = planned_records(Plan(seed=1, backlog=0, rate=0), START, stop, oracle)
    published = [next(records) for _ in range(5000)]
    stop.set()
    published += list(records)
    rows = [json.loads(line) for line in oracle.getvalue().splitlines()]
    steps = {("email", s.name): len(s.steps) for s in EMAIL_SCENARIOS}
    steps |= {("sms", s.name): len(s.steps) for s in SMS_SCENARIOS}
    assert len(published) == sum(steps[row["channel"], row["scenario"]] for row in rows)


def test_records_wait_for_their_time_until_stopped():
    waits = []

    class Stop(Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return True

    records = list(in_order(sample(5)))
    now = records[2].timestamp_ms / 1000
    assert list(paced(records, Stop(), clock=lambda: now)) == records
    assert waits == pytest.approx([r.timestamp_ms / 1000 - now for r in records[3:]], abs=0.01)


def test_records_print_as_lines_of_json_whatever_their_bytes():
    for record in [case.record for case in broken_records(1, START)] + list(in_order(sample(50))):
        line = json.loads(to_json_line(record))
        assert line["value"].encode("utf-8", "surrogateescape") == record.value
        assert line["topic"] == record.topic
