"""History judged by other rules, on the real engine: what changes, and what is broken off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from processor.intake.decoder import Decoder
from processor.kafka.topics import provider_feeds
from processor.settings import IntakeSettings, KafkaSettings
from projections.clickhouse import rebuild, reclassify
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.sql import stream
from projections.clickhouse.store import insert_rows
from projections.tables import projections
from projections.tables.events import TABLE as EVENTS
from schemas.bounces import BounceRules, default_rules
from schemas.events import milliseconds
from schemas.providers import adapters
from tests import clickhouse
from tests.chunks import chunk_of
from tests.clickhouse import connect_to
from tests.paths import PAYLOADS
from tests.system import empty_topics, read

LOG = projections()["email_log"]
NOW = datetime(2026, 11, 1, tzinfo=UTC)
FEEDS = provider_feeds()
#: Another opinion about nearly everything: codes, a phrase, and a code that nothing lists yet.
OTHER = """
rules_version = 2
[codes]
"5.1.1" = "soft"
"5.2.2" = "hard"
"5.7.1" = "soft"
"550" = "block"
[phrases]
soft = ["hard as nails"]
"""
MAILERS = {"channel": "email", "tenant_id": "t", "occurred_at": NOW.isoformat()}


@dataclass(frozen=True)
class Record:
    topic: str
    offset: int
    value: bytes
    headers: tuple = ()
    partition: int = 0
    timestamp: int = milliseconds(NOW)


def bounce(number, diagnostic, label="Permanent/General", status=""):
    kind, _, subtype = label.partition("/")
    return Record(FEEDS["ses"], number, json.dumps({
        "eventType": "Bounce",
        "mail": {"messageId": f"m{number}", "tags": {"tenant_id": ["t"]}},
        "bounce": {
            "timestamp": (NOW + timedelta(minutes=number)).isoformat(),
            "bounceType": kind, "bounceSubType": subtype,
            "bouncedRecipients": [
                {"emailAddress": f"a{number}@example.com", "status": status,
                 "diagnosticCode": diagnostic},
            ],
        },
    }).encode())  # fmt: skip


def mailers(number, **fields):
    fact = MAILERS | {"message_id": f"m{number}", "recipient": f"a{number}@example.com"} | fields
    return Record("email.sends", 1000 + number, json.dumps(fact).encode())


#: What providers said, and what mailers say themselves.
REPORTED = [
    bounce(0, "550 5.1.1 user unknown"),
    bounce(1, "550 5.1.1 user unknown"),
    bounce(2, "552 5.2.2 mailbox full"),
    bounce(3, "554 5.7.1 blocked"),
    bounce(4, "this one is hard as nails", label="Permanent/General"),
    bounce(5, "550 nothing known"),
    bounce(6, "554 5.6.0 content", label="Transient/General"),
    bounce(7, "", label="Undetermined/Undetermined"),
]
SAID = [
    mailers(8, kind="bounce", bounce_class="hard", enhanced_status="5.1.1", provider="ses"),
    mailers(9, kind="bounce", bounce_class="hard", enhanced_status="5.1.1", classified_by="code"),
    *(mailers(number, kind="sent") for number in range(10)),
]
CHANGED = {"m0", "m1", "m2", "m3", "m4", "m5"}


def decoder(rules=None):
    return Decoder(IntakeSettings(), max_record_bytes=1_000_000, rules=rules)


@dataclass
class History:
    """A database with facts in it, judged by the rules that ship."""

    url: str
    name: str
    client: object
    cluster: str = ""

    @property
    def target(self):
        return Target(self.name, self.cluster)

    def put(self, records, rules=None):
        for chunk in (
            [r for r in records if r.topic == topic] for topic in {r.topic for r in records}
        ):
            batch = decoder(rules)(chunk_of(chunk))
            assert not batch.rejections
            insert_rows(self.client, self.name, EVENTS, batch.events)

    def log(self):
        return list(
            stream(self.client, f"SELECT * FROM {self.name}.email_log ORDER BY message_id", {})
        )

    def facts(self):
        sql = (
            f"SELECT * FROM {self.name}.events FINAL ORDER BY event_id, bounce_class, classified_by"
        )
        return list(stream(self.client, sql, {}))

    def tables(self):
        return {row[0] for row in self.client.query(f"SHOW TABLES FROM {self.name}").result_rows}

    def steps(self, rules):
        """Return the steps of a whole run, in order, as functions."""
        client, target, runs = self.client, self.target, []

        def fold():
            runs.append(rebuild.begin(client, target, LOG, take_over=True))
            list(runs[0].fold(reclassify.replacement(target)))

        def swap():
            runs[0].swap()

        return [
            lambda: list(reclassify.classify_history(client, target, rules, FEEDS)),
            fold,
            swap,
            lambda: reclassify.store_replacements(client, target),
            lambda: reclassify.delete_replaced(client, target),
            lambda: reclassify.discard_work_tables(client, target),
        ]

    def run(self, rules):
        for step in self.steps(rules):
            step()


def migrated(fresh):
    client = connect_to(fresh.url)
    list(migrate(client, Target(fresh.name)))
    return History(fresh.url, fresh.name, client)


@pytest.fixture
def history(fresh_database):
    past = migrated(fresh_database)
    past.put(REPORTED + SAID)
    return past


@pytest.fixture
def other():
    return BounceRules.parse(OTHER, default_rules())


def expected(history, records, rules):
    """Return log and facts as they would be had all been decoded by the rules."""
    name = f"{history.name}_wanted"
    list(migrate(history.client, Target(name)))
    wanted = History(history.url, name, history.client)
    try:
        wanted.put(records, rules)
        return wanted.log(), wanted.facts()
    finally:
        history.client.command(f"DROP DATABASE {name} SYNC")


def test_history_ends_as_if_it_had_been_decoded_by_the_new_rules(history, other):
    before = history.facts()
    assert len(before) == len(REPORTED + SAID)
    history.run(other)
    log, facts = expected(history, REPORTED + SAID, other)
    assert history.facts() == facts
    assert history.log() == log
    changed = {new["message_id"] for new in history.facts() if new not in before}
    assert changed == CHANGED


def test_it_is_told_how_many_facts_go_from_which_class_to_which(history, other):
    list(reclassify.classify_history(history.client, history.target, other, FEEDS))
    found = {
        (change.before, change.before_by, change.after, change.after_by): change.events
        for change in reclassify.class_changes(history.client, history.target)
    }
    assert found == {
        ("hard", "code", "soft", "code"): 2,
        ("soft", "code", "hard", "code"): 1,
        ("block", "code", "soft", "code"): 1,
        ("hard", "label", "soft", "text"): 1,
        ("hard", "label", "block", "code"): 1,
    }


def test_unchanged_rules_change_nothing(history):
    before = history.facts(), history.log()
    list(reclassify.classify_history(history.client, history.target, default_rules(), FEEDS))
    assert reclassify.class_changes(history.client, history.target) == []
    history.run(default_rules())
    assert (history.facts(), history.log()) == before


@pytest.mark.parametrize("done", range(7))
def test_a_run_broken_off_after_any_step_is_finished_by_the_next(history, other, done):
    wanted = expected(history, REPORTED + SAID, other)
    for step in history.steps(other)[:done]:
        step()
    history.run(other)
    assert (history.log(), history.facts()) == wanted
    assert not [name for name in history.tables() if "reclassified" in name or "fresh" in name]


def test_facts_that_arrive_meanwhile_are_all_there_afterwards(history, other):
    late = [bounce(20 + n, "550 5.1.1 user unknown") for n in range(7)]
    for step, record in zip(history.steps(other), late, strict=False):
        step()
        history.put([record, REPORTED[0]], rules=other)
    log, facts = expected(history, REPORTED + SAID + late[:6], other)
    assert history.facts() == facts
    assert history.log() == log


def test_a_fact_judged_by_older_rules_that_arrives_meanwhile_is_kept_for_the_next_run(
    history, other
):
    late = [bounce(20 + n, "550 5.1.1 user unknown") for n in range(6)]
    for step, record in zip(history.steps(other), late, strict=True):
        step()
        history.put([record])
    assert {f"m{20 + n}" for n in range(6)} <= {fact["message_id"] for fact in history.facts()}
    history.run(other)
    assert (history.log(), history.facts()) == expected(history, REPORTED + SAID + late, other)


def test_many_facts_are_judged_and_deleted_in_slices(history, other, monkeypatch):
    monkeypatch.setattr(reclassify, "MAX_SLICE_BOUNCES", 2)
    monkeypatch.setattr(reclassify, "BATCH_VERDICTS", 1)
    monkeypatch.setattr(rebuild, "MAX_SLICE_EVENTS", 5)
    history.run(other)
    assert (history.log(), history.facts()) == expected(history, REPORTED + SAID, other)


def test_every_bounce_of_every_provider_is_judged_as_if_decoded_anew(fresh_database, other):
    past = migrated(fresh_database)
    records = []
    for path in sorted(PAYLOADS.glob("*/*.json")):
        case = json.loads(path.read_text("utf-8"))
        headers = tuple((n, v.encode()) for n, v in (case.get("headers") or {}).items())
        topic = FEEDS[case["provider"]]
        records.append(Record(topic, len(records), case["payload"].encode(), headers))
    past.put(records)
    past.run(other)
    assert bounces(past.facts()) == bounces(expected(past, records, other)[1])
    email = {name for name, adapter in adapters().items() if adapter.CHANNEL == "email"}
    assert {fact["provider"] for fact in past.facts() if fact["kind"] == "bounce"} == email


def bounces(facts):
    """Return bounces in an order of their own, without where they came from: some are copies."""
    return sorted(
        str({name: value for name, value in fact.items() if name != "source_offset"})
        for fact in facts
        if fact["kind"] == "bounce"
    )


# ------------------------------------------------------------------- the command line


@pytest.fixture
def command(history, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(OTHER)

    def run(*arguments, rules=file):
        done = subprocess.run(
            [sys.executable, "-m", "processor", *arguments],
            env={
                **os.environ, "COLUMNS": "200", "SENDLOG_BOUNCE_RULES": str(rules),
                **clickhouse.environment(history.url),
                "SENDLOG_CLICKHOUSE__DATABASE": history.name,
            },
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_dry_run_reports_and_changes_nothing(history, command):
    before = history.facts(), history.log(), history.tables()
    code, said, problems = command("rebuild", "--reclassify", "--dry-run")
    assert code == 0, problems
    assert f"own.toml, over version {default_rules().version})" in said
    assert "facts: 2 hard (code) → soft (code)" in said
    assert "facts: 6 bounces get another verdict" in said
    assert "rows Bounce → Sent" in said
    assert "email_log: rows by status: Bounce -3, Sent +3" in said
    assert said.endswith("nothing was changed\n")
    assert (history.facts(), history.log(), history.tables()) == before


def test_the_command_applies_what_it_reports(history, command, other):
    code, said, problems = command("rebuild", "--reclassify")
    assert code == 0, problems
    assert said.endswith("reclassified\n")
    assert (history.log(), history.facts()) == expected(history, REPORTED + SAID, other)
    assert "facts: 0 bounces get another verdict" in command("rebuild", "--reclassify")[1]
    assert "0 added, 0 removed, 0 changed" in command("rebuild", "email_log")[1]


def put_entry(history, number, rule="hard_bounce"):
    [row] = [
        fact for fact in history.facts()
        if fact["message_id"] == f"m{number}" and fact["kind"] == "bounce"
    ]  # fmt: skip
    fields = {
        "tenant_id": "t", "channel": "email", "address": row["recipient"], "occurred_at": NOW,
        "event_id": f"{rule}{number}", "recorded_at": NOW, "change": "added", "rule": rule,
        "since": NOW, "cause_event_id": row["event_id"],
    }  # fmt: skip
    history.client.insert(
        "suppression_history", [list(fields.values())], column_names=list(fields),
        database=history.name,
    )  # fmt: skip


def test_whom_the_old_classes_have_blacklisted_is_reported_and_lifted(
    history, broker, command, monkeypatch
):
    empty_topics(KafkaSettings(bootstrap=broker.bootstrap, replication=1))
    monkeypatch.setenv("SENDLOG_KAFKA__BOOTSTRAP", broker.bootstrap)
    for number in (0, 1, 8):  # of 8 the mailer says itself that it is hard, and that stays
        put_entry(history, number)
    put_entry(history, 1, "complaint")
    code, said, problems = command("rebuild", "--reclassify", "--lift")
    assert code == 0, problems
    assert "blacklist: a0@example.com of t since 2026-11-01 00:00 by hard_bounce\n" in said
    assert "blacklist: a1@example.com of t since 2026-11-01 00:00 by hard_bounce, also by" in said
    assert "blacklist: 2 addresses are listed for bounces that are not hard" in said
    assert "blacklist: 1 resets published" in said
    [record] = read(broker.bootstrap, "delivery.commands")
    reset = json.loads(record.value)
    assert (reset["command"], reset["address"]) == ("reset", "a0@example.com")
    assert "reclassified by rules" in reset["reason"]


def test_a_log_that_holds_no_bounces_cannot_be_reclassified_alone(command):
    code, _, problems = command("rebuild", "--reclassify", "sms_log")
    assert code == 2
    assert "email_log" in problems


def test_a_wrong_file_of_rules_stops_the_command_and_names_the_field(history, command, tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('rules_version = 2\n[codes]\n"5.1.1" = "firm"\n')
    before = history.tables()
    code, _, problems = command("rebuild", "--reclassify", rules=wrong)
    assert code == 1
    assert f"SENDLOG_BOUNCE_RULES {wrong}: codes.5.1.1" in problems
    assert history.tables() == before
