"""`sendlog forget` on a whole system: what is refused, what comes late, what the topics say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from processor.demo.render import DemoRecord
from projections.clickhouse.ddl import Target
from schemas.addresses import Address
from schemas.pseudonyms import Pseudonyms
from tests.person_scanner import stands_in, stored_values
from tests.system import DATABASE, running, wait_for

SECRET = "a secret of tests, long enough for it"
ANN = "ann.lee@example.com"
PSEUDONYM = Pseudonyms(SECRET).of(Address("acme", "email", ANN))
NOW = datetime.now(UTC) - timedelta(hours=2)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("forget")) as system:
        system.worker(SENDLOG_PRIVACY__SECRET=SECRET)
        yield system


def record(kind, recipient, message_id, at=NOW, *, tenant="acme", topic="email.sends", **fields):
    value = {
        "channel": "email", "kind": kind, "tenant_id": tenant, "message_id": message_id,
        "recipient": recipient, "occurred_at": at.isoformat(), "subject": "Dear Ann Lee",
        "ip": "192.0.2.77", "record_type": "family", "record_id": "F1", "record_name": "The Lees",
        **fields,
    }  # fmt: skip
    return DemoRecord(topic, None, json.dumps(value).encode(), (), int(at.timestamp() * 1000))


def bounce(recipient, message_id, **fields):
    return record(
        "bounce", recipient, message_id, bounce_class="hard", smtp_code=550,
        enhanced_status="5.1.1", diagnostic=f"no mailbox {recipient}", **fields,
    )  # fmt: skip


def forget(system, *arguments, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "processor", "forget", *arguments],
        env={**os.environ, **system.environment, "SENDLOG_PRIVACY__SECRET": SECRET},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 or not check, done.stderr
    return done


def statuses(system, tenant="acme"):
    sql = (
        f"SELECT recipient, message_id, status, subject FROM {DATABASE}.email_log "
        "WHERE tenant_id = {tenant:String} ORDER BY message_id, recipient"
    )
    return [tuple(row.values()) for row in system.rows(sql, tenant=tenant)]


def entries(system, tenant="acme"):
    sql = f"SELECT address FROM {DATABASE}.suppressions WHERE tenant_id = {{tenant:String}}"
    return [row["address"] for row in system.rows(sql, tenant=tenant)]


def suppressions_topic(system):
    """Return the last value of each key."""
    return {each.key.decode(): each.value for each in system.read("delivery.suppressions")}


def states_topic(system):
    return {each.key.decode(): each.value for each in system.read("delivery.policy-state")}


def test_a_person_is_forgotten_and_stays_refused_whatever_comes_later(system):
    system.publish([
        record("sent", ANN, "m1"), bounce(ANN, "m1"),
        record("sent", ANN, "m1", tenant="other"), bounce(ANN, "m1", tenant="other"),
        record("sent", "bob@example.com", "m2", subject=f"about {ANN}"),
    ])  # fmt: skip
    wait_for(lambda: entries(system) == entries(system, "other") == [ANN], "the entries")
    system.wait_until_committed()
    preview = json.loads(
        forget(
            system, ANN, "--tenant", "acme", "--channel", "email", "--preview", "--format", "json"
        ).stdout
    )
    assert preview["rows"]["events"] >= 4
    assert entries(system) == [ANN]
    refused = forget(system, ANN, "--tenant", "acme", "--channel", "email", check=False)
    assert refused.returncode == 1
    assert "--yes" in refused.stderr

    done = forget(
        system, "Ann.Lee@example.com", "--tenant", "acme", "--channel", "email", "--yes",
        "--actor", "kim", "--format", "json",
    )  # fmt: skip
    receipt = json.loads(done.stdout)
    assert ANN not in done.stdout
    assert receipt["pseudonym"] == PSEUDONYM
    assert receipt["actor"] == "kim"
    assert receipt["counts"]["events"] >= 4
    assert "30 days" in done.stderr

    assert statuses(system) == [
        (PSEUDONYM, "m1", "Bounce", ""), ("bob@example.com", "m2", "Sent", ""),
    ]  # fmt: skip
    assert statuses(system, "other") == [(ANN, "m1", "Bounce", "Dear Ann Lee")]
    assert entries(system) == [PSEUDONYM]
    assert entries(system, "other") == [ANN]
    wait_for(lambda: suppressions_topic(system).get(f"acme|email|{PSEUDONYM}"), "the entry")
    topic, states = suppressions_topic(system), states_topic(system)
    assert topic[f"acme|email|{ANN}"] is None
    assert states[f"acme|email|{ANN}"] is None
    for value in (topic[f"acme|email|{PSEUDONYM}"], states[f"acme|email|{PSEUDONYM}"]):
        assert b"hard_bounce" in value
        assert not stands_in(ANN, value)
    assert topic[f"other|email|{ANN}"]

    later = datetime.now(UTC)
    system.publish([
        record("sent", " Ann.Lee@EXAMPLE.com", "m3", later),
        record("open", ANN, "m1", NOW + timedelta(minutes=5), user_agent="Ann's telephone"),
        record("sent", ANN, "m3", later, tenant="other"),
    ])  # fmt: skip
    wait_for(
        lambda: (PSEUDONYM, "m3", "Invalid", "") in statuses(system), "the refusal of the send"
    )
    wait_for(
        lambda: (ANN, "m3", "Invalid", "Dear Ann Lee") in statuses(system, "other"), "the other"
    )
    system.wait_until_committed()
    assert (PSEUDONYM, "m1", "Bounce", "") in statuses(system)
    sql = f"SELECT count() FROM {DATABASE}.events WHERE tenant_id = 'acme' AND kind = 'open'"
    assert system.value(sql) == 1
    assert left_of(system) == set()

    again = forget(
        system, ANN, "--tenant", "acme", "--channel", "email", "--yes", "--format", "json"
    )
    assert not any(json.loads(again.stdout)["counts"].values())
    assert entries(system) == [PSEUDONYM]


def left_of(system):
    """Return the tables and columns in which the address stands, but for the other tenant's."""
    return {
        (table, column)
        for table, column, value in stored_values(
            system.client, Target(DATABASE), but_tenant="other"
        )
        if stands_in(ANN, value) and not re.search(rb'"tenant_id": ?"other"', value)
    }


def test_a_record_is_forgotten_with_all_its_addresses(system):
    names = ["eve@example.com", "max@example.com"]
    system.publish([
        record("sent", names[0], "m7", record_id="F9", record_name="The Foxes"),
        record("sent", names[1], "m8", record_id="F9", record_name="The Foxes"),
    ])  # fmt: skip
    wait_for(lambda: len([row for row in statuses(system) if row[0] in names]) == 2, "the rows")
    done = forget(system, "--record", "family/F9", "--tenant", "acme", "--yes")
    assert done.stdout.count("forgotten: ") == 2
    values = stored_values(system.client, Target(DATABASE))
    texts = b"\n".join(value for _, _, value in values)
    for word in (b"eve@example.com", b"max@example.com", b"The Foxes"):
        assert word not in texts, word


def test_a_worker_with_another_secret_stops_rather_than_log_who_was_forgotten(system):
    forget(system, "zoe@example.com", "--tenant", "acme", "--channel", "email", "--yes")
    worker = system.start_worker(SENDLOG_PRIVACY__SECRET="another secret, long enough for it too")
    wait_for(lambda: not worker.running, "the worker to stop")
    assert "by another SENDLOG_PRIVACY__SECRET" in system.output(worker)
    refused = system.command("forget", ANN, "--tenant", "acme", "--channel", "email", check=False)
    assert refused.returncode == 1
    assert "SENDLOG_PRIVACY__SECRET_FILE" in refused.stderr


def test_what_is_kept_of_a_person_is_printed_line_by_line(system):
    system.publish([record("sent", "ida@example.com", "m20")])
    wait_for(lambda: any(row[0] == "ida@example.com" for row in statuses(system)), "the row")
    lines = system.command(
        "export-person", "Ida@example.com", "--tenant", "acme", "--channel", "email"
    )
    rows = [json.loads(line) for line in lines.splitlines()]
    tables = {row["table"] for row in rows}
    assert {"email_log", "events", "raw_records", "audit"} <= tables
    assert {row["recipient"] for row in rows if row["table"] == "events"} == {"ida@example.com"}


def test_who_was_forgotten_after_a_restored_backup_is_found_by_the_receipts(system, tmp_path):
    lia = Pseudonyms(SECRET).of(Address("acme", "email", "lia@example.com"))
    system.publish([record("sent", "lia@example.com", "m30")])
    wait_for(lambda: any(row[0] == "lia@example.com" for row in statuses(system)), "the row")
    receipts = tmp_path / "receipts.ndjson"
    receipts.write_text(json.dumps({"pseudonym": lia, "tenant_id": "acme"}) + "\n")
    forget(system, "--again", str(receipts), "--tenant", "acme", "--yes")
    assert [row[0] for row in statuses(system) if row[1] == "m30"] == [lia]
    receipts.write_text("nothing")
    refused = forget(system, "--again", str(receipts), "--tenant", "acme", "--yes", check=False)
    assert refused.returncode == 1
    assert "no file of receipts" in refused.stderr
