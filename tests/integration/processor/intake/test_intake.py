"""From a record in Kafka to a row that a command shows, and what becomes of broken records."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from kafka import KafkaConsumer
from kafka.admin import NewTopic

from processor.demo.broken import broken_records
from processor.demo.traffic import every_scenario
from processor.kafka import topics
from processor.kafka.producer import sync_producer
from tests.system import mismatches, running, wait_for

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(days=9)
STATUSES = {
    "email": {"Sent", "Delivery", "Open", "Click", "Bounce", "Invalid", "Skipped"},
    "sms": {"Queued", "Sent", "Delivered", "Received", "Rejected", "Undelivered", "Failed"},
}


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("intake")) as system:
        with topics.admin_client(system.kafka) as admin:  # a feed that nobody has an adapter for
            admin.create_topics(
                [NewTopic(name="email.events.acme", num_partitions=1, replication_factor=1)]
            )
        system.worker()
        yield system


def event_value(**changes):
    event = {
        "channel": "email", "kind": "sent", "tenant_id": "acme", "message_id": "m-1",
        "recipient": "jo@example.com", "occurred_at": NOW.isoformat(), "subject": "Invoice 7",
    }  # fmt: skip
    return json.dumps({**event, **changes}).encode()


def publish(system, topic, *values, headers=()):
    """Publish records and wait until they are committed."""
    with sync_producer(system.kafka) as send:
        for value in values:
            send(topic, value, headers)
    system.wait_until_committed()


def dead_letters(system, **options):
    arguments = chain.from_iterable((f"--{name}", value) for name, value in options.items())
    out = system.command("dead-letters", "list", "--limit", "0", "--format", "json", *arguments)
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def scenarios(system):
    """One message of each scenario, raw and as mailers' events."""
    messages = every_scenario(3, START, tenant="demo") + every_scenario(
        4, START, tenant="facts", raw=False
    )
    system.publish(chain.from_iterable(message.records for message in messages))
    system.wait_until_committed()
    return [message.expected for message in messages]


def test_every_scenario_ends_in_the_row_that_the_generator_says(system, scenarios):
    ours = [line for line in mismatches(system, scenarios) if not line.startswith("too much")]
    assert ours == []


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_the_log_command_shows_every_status(system, scenarios, channel):
    table = system.command("log", channel, "--tenant", "demo", "--limit", "1000")
    assert {word for word in STATUSES[channel] if re.search(rf"\b{word}\b", table)} == STATUSES[
        channel
    ]
    out = system.command("log", channel, "--tenant", "demo", "--limit", "1000", "--format", "json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["status"] for row in rows} == STATUSES[channel]
    assert [row["date"] for row in rows] == sorted((row["date"] for row in rows), reverse=True)


def test_filters_narrow_and_sorts_order(system, scenarios):
    def log(*arguments):
        out = system.command("log", "email", "--tenant", "demo", "--format", "json", *arguments)
        return [json.loads(line) for line in out.splitlines()]

    assert {row["status"] for row in log("--status", "Bounce")} == {"Bounce"}
    assert all(row["open_count"] >= 2 for row in log("--where", "open_count>=2"))
    assert all(row["conflict"] for row in log("--where", "conflict=true"))
    row = log("--limit", "1")[0]
    assert log("--recipient", row["recipient"].upper())[0]["recipient"] == row["recipient"]
    assert log("--contains", row["subject"][2:8].upper()) != []
    statuses = [row["status"] for row in log("--sort", "status", "--limit", "1000")]
    assert statuses == sorted(statuses)
    assert log("--as-of", (START - timedelta(days=1)).isoformat()) == []
    assert log("--since", (NOW + timedelta(days=1)).isoformat()) == []


def test_a_wrong_filter_is_one_clear_line(system):
    done = system.command("log", "email", "--tenant", "demo", "--where", "nope=1", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("sendlog: no column 'nope' in email_log; there are: tenant_id")
    assert "Traceback" not in done.stderr


def test_explain_prints_the_rule_and_the_events_that_lost(system, scenarios):
    late = next(e for e in scenarios if e.status == "Bounce" and e.conflict)
    text = system.command("explain", late.message_id, late.recipient, "--tenant", late.tenant_id)
    assert text.startswith("Bounce — ")
    assert "Rule 1 decided: a hard or block bounce" in text
    assert "overruled: Click" in text
    assert "lost: alone Click" in text
    out = system.command(
        "explain", late.message_id, late.recipient, "--tenant", late.tenant_id, "--format", "json"
    )
    explanation = json.loads(out)
    assert explanation["status"] == explanation["row"]["status"] == "Bounce"
    assert {"decides", "lost"} <= {event["role"] for event in explanation["facts"]}


def test_a_tenant_sees_only_its_own(system, scenarios):
    out = system.command("log", "email", "--tenant", "demo", "--limit", "9999", "--format", "json")
    assert {json.loads(line)["tenant_id"] for line in out.splitlines()} == {"demo"}
    hostile = "x' OR tenant_id != '"
    assert system.command("log", "email", "--tenant", hostile, "--format", "json") == ""


def test_each_broken_record_is_a_dead_letter_with_its_place_and_reason(system):
    cases = broken_records(7, NOW - timedelta(hours=1))
    before = len(dead_letters(system))
    system.publish(case.record for case in cases)
    system.wait_until_committed()
    rows = dead_letters(system)
    assert len(rows) - before == sum(case.dead_letter for case in cases)
    for row in rows:
        assert row["reason"]
        assert row["source_topic"] in {case.record.topic for case in cases} | {"email.events.acme"}
    hostile = "x'; DROP TABLE events; --"
    out = system.command("log", "email", "--tenant", hostile, "--format", "json")
    assert len(out.splitlines()) == 2


def test_a_huge_value_and_an_unknown_provider_are_dead_letters_with_their_bytes(system):
    publish(system, "email.sends", event_value(text="x" * 5_000_000, message_id="huge"))
    [huge] = dead_letters(system, reason="over the limit")
    assert "5,000," in huge["reason"]
    assert len(huge["raw"]) > 6_000_000  # base64
    publish(system, "email.events.acme", b"\xff\x00 anything")
    [unknown] = dead_letters(system, topic="email.events.acme")
    assert unknown["reason"] == "no adapter for provider 'acme' of channel 'email'"
    assert (unknown["source_partition"], unknown["source_offset"]) == (0, 0)


def test_dead_letters_are_on_their_topic_with_raw_bytes_and_headers(system):
    publish(system, "sms.sends", b"not json", headers=(("x-trace", b"42"),))
    consumer = KafkaConsumer(
        topics.DEAD_LETTERS_TOPIC, bootstrap_servers=system.broker.bootstrap,
        auto_offset_reset="earliest", consumer_timeout_ms=10_000, group_id=None,
    )  # fmt: skip
    try:
        record = next(r for r in consumer if r.value == b"not json")
    finally:
        consumer.close()
    headers = dict(record.headers)
    assert headers["sendlog-dead-topic"] == b"sms.sends"
    assert headers["sendlog-dead-reason"].startswith(b"payload: Invalid JSON")
    assert headers["x-trace"] == b"42"


def test_what_was_broken_comes_back_with_replay_after_a_fix(system):
    publish(system, "email.sends", event_value(message_id="replayed", text="y" * 2_000_000))
    assert len(dead_letters(system, reason="value of 2,000")) == 1
    for worker in system.workers:
        worker.stop()
    system.worker(SENDLOG_KAFKA__MAX_RECORD_BYTES="4000000")  # the fix
    assert "would be replayed" in system.command("dead-letters", "replay", "--dry-run")
    done = system.command("dead-letters", "replay", "--reason", "value of 2,000")
    assert done.startswith("replayed 1 ")
    system.wait_until_committed()
    # Longer than a text may be: dead again, for its own reason and at its new place.
    assert dead_letters(system, reason="value of 2,000") == []
    [again] = dead_letters(system, reason="text:")
    assert "at most 65536" in again["reason"]
    publish(system, "email.sends", event_value(message_id="after", tenant_id="after"))
    out = system.command("log", "email", "--tenant", "after", "--format", "json")
    assert json.loads(out)["message_id"] == "after"


def test_publish_and_normalise_are_usable_from_a_script(system, tmp_path):
    file = tmp_path / "facts.ndjson"
    file.write_bytes(
        event_value(tenant_id="script") + b"\n\n" + event_value(tenant_id="script", kind="delivery")
    )
    assert system.command("publish", str(file)) == "published 2 records\n"
    system.wait_until_committed()
    row = json.loads(system.command("log", "email", "--tenant", "script", "--format", "json"))
    assert (row["status"], row["subject"]) == ("Delivery", "Invoice 7")
    body = "MessageStatus=delivered&To=%2B12015550123&MessageSid=SM1"
    event = json.loads(system.command("normalise", "--provider", "twilio", input=body))
    assert (event["kind"], event["recipient"]) == ("delivery", "+12015550123")
    lines = [{"provider": "twilio", "payload": body}, {"provider": "nobody", "payload": ""}]
    out = system.command(
        "normalise", "--batch", input="".join(json.dumps(line) + "\n" for line in lines)
    )
    good, bad = map(json.loads, out.splitlines())
    assert good["events"][0]["kind"] == "delivery"
    assert "no adapter for provider 'nobody'" in bad["error"]


def test_rows_are_derived_again_from_what_kafka_had(system, scenarios):
    late = next(e for e in scenarios if e.status == "Bounce" and e.conflict)
    out = system.command("replay", late.message_id, "--tenant", late.tenant_id)
    assert out.startswith(f"email_log: {late.tenant_id}, {late.recipient}: the same, by ")
    other = system.command("replay", late.message_id, "--channel", "sms", check=False)
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr == f"sendlog: no row of message {late.message_id!r}\n"
    preview = json.loads(system.command("upgrade", "--preview", "--format", "json"))
    assert preview["facts"] >= preview["records"] > len(scenarios)
    assert (preview["differences"], preview["rows"]) == ([], [])
    some = system.command("upgrade", "--preview", "--provider", "twilio", "--since", str(START))
    assert some.endswith("0 differ, 0 rows would change; nothing was written\n")


def test_a_row_that_the_raw_records_do_not_give_is_shown_with_what_differs(system):
    complaint = event_value(tenant_id="lost", message_id="lost", kind="complaint")
    publish(system, "email.sends", event_value(tenant_id="lost", message_id="lost"), complaint)
    assert "the same" in system.command("replay", "lost")
    system.client.command(
        "DELETE FROM sendlog.raw_records WHERE value = unhex({value:String})",
        parameters={"value": complaint.hex()}, settings={"lightweight_deletes_sync": 2},
    )  # fmt: skip
    done = system.command("replay", "lost", check=False)
    assert done.returncode == 1
    assert "complained_at: " in done.stdout
    assert "complaint of email.sends/" in done.stdout
    assert done.stdout.endswith(": it has no raw record\n")
    done = system.command("replay", "lost", "--format", "json", check=False)
    row = json.loads(done.stdout)
    assert row["same"] is False
    assert row["differing"]["complained_at"]["raw"] is None
    assert [event["kind"] for event in row["underived"]] == ["complaint"]


def test_raw_records_are_not_kept_if_the_settings_say_so(system):
    for worker in system.workers:
        worker.stop()
    system.worker(SENDLOG_RAW__KEEP="false")
    publish(system, "email.sends", event_value(tenant_id="bare", message_id="bare"))
    assert system.command("log", "email", "--tenant", "bare", "--format", "json")
    kept = "SELECT count() FROM sendlog.raw_records WHERE position(value, '\"bare\"') > 0"
    assert system.value(kept) == 0
    done = system.command("replay", "bare", check=False)
    assert done.returncode == 1
    assert "by 0 facts from raw records" in done.stdout


def test_the_same_notification_twice_counts_once(system):
    opened = event_value(tenant_id="twice", kind="open", message_id="m")
    publish(system, "email.sends", opened, opened, event_value(tenant_id="twice", message_id="m"))
    row = json.loads(system.command("log", "email", "--tenant", "twice", "--format", "json"))
    assert (row["status"], row["open_count"]) == ("Open", 1)


def test_rebuilding_changes_nothing_and_repairs_what_was_damaged(system, scenarios):
    assert "0 added, 0 removed, 0 changed" in system.command("rebuild", "email_log")
    system.client.command("ALTER TABLE sendlog.email_log_state DELETE WHERE tenant_id = 'demo'"
                          " SETTINGS mutations_sync = 2")  # fmt: skip
    tried = system.command("rebuild", "email_log", "--dry-run")
    count = sum(e.channel == "email" and e.tenant_id == "demo" for e in scenarios)
    assert f"would change: {count:,} added, 0 removed, 0 changed" in tried
    assert system.command("log", "email", "--tenant", "demo", "--format", "json") == ""
    assert f"rebuilt; {count:,} added" in system.command("rebuild", "email_log")
    ours = [line for line in mismatches(system, scenarios) if not line.startswith("too much")]
    assert ours == []


def test_a_worker_without_its_tables_stops_with_the_cause(system):
    publish(system, "email.sends", event_value())
    worker = system.start_worker(
        SENDLOG_KAFKA__GROUP="lost", SENDLOG_CLICKHOUSE__DATABASE="nowhere"
    )
    wait_for(lambda: not worker.running, "the worker to stop")
    last = json.loads(system.output(worker).splitlines()[-1])
    assert last["event"] == "worker_stopped"
    assert "nowhere" in last["error"]
    assert worker.returncode != 0


def test_migrating_again_changes_nothing(system):
    assert system.command("migrate") == "audit is kept 365 days\n"  # which is not declared
    assert system.command("migrate") == "nothing to do: the database is as declared\n"
    assert system.command("topics", "apply") == "nothing to do: all topics are there\n"
    assert "all topics are there" in system.command("topics", "check")


def test_a_wrong_setting_stops_at_once_with_its_name():
    done = subprocess.run(
        [sys.executable, "-m", "processor", "worker"],
        env={**os.environ, "SENDLOG_KAFKA__PARTITIONS": "many"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("sendlog: SENDLOG_KAFKA__PARTITIONS: ")
    assert "'many'" in done.stderr
