"""The commands of the blacklist: through real Kafka, a real worker and the real engine."""

from __future__ import annotations

import csv
import getpass
import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from processor.demo.render import DemoRecord
from schemas.resets import ResetTerms
from tests.system import running, wait_for

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("blacklist")) as system:
        system.worker()
        yield system


def event_record(kind, recipient, message_id, at=NOW, *, channel="email", **fields):
    value = {
        "channel": channel, "kind": kind, "tenant_id": "acme", "message_id": message_id,
        "recipient": recipient, "occurred_at": at.isoformat(), **fields,
    }  # fmt: skip
    stamp = int(at.timestamp() * 1000)
    return DemoRecord(f"{channel}.sends", None, json.dumps(value).encode(), (), stamp)


def bounce_record(recipient, message_id, at=NOW):
    return event_record(
        "bounce", recipient, message_id, at, bounce_class="hard", smtp_code=550,
        enhanced_status="5.1.1", diagnostic="mailbox does not exist",
    )  # fmt: skip


def run(system, *arguments, check=True, input=None):
    """Run a command of the blacklist; return what it printed, or without `check` its result."""
    return system.command(
        "suppressions", *arguments, "--tenant", "acme", check=check, input=input
    )  # fmt: skip


def entry_of(system, address, *options):
    """Return the entry of an address as `show` has it, None if it is not suppressed."""
    lines = run(system, "show", address, "--format", "json", *options).splitlines()
    return json.loads(lines[0]) if lines else None


def changes(system, address):
    lines = run(system, "history", address, "--format", "json").splitlines()
    return [(row["change"], row["rule"], row["actor"]) for row in map(json.loads, lines)]


def wait_for_rule(system, address, rule):
    wait_for(
        lambda: rule in (entry_of(system, address) or {"rules": ()})["rules"], f"{address} {rule}"
    )


def test_a_bounced_address_is_shown_reset_and_blacklisted_again_by_the_next_bounce(system) -> None:
    ann = "ann@example.com"
    system.publish([event_record("sent", ann, "m1"), bounce_record(ann, "m1")])
    wait_for_rule(system, ann, "hard_bounce")
    system.publish([event_record("sent", ann, "m2", datetime.now(UTC))])
    wait_for(lambda: entry_of(system, ann)["refused_since"] == 1, "the refusal")

    done = run(system, "reset", " Ann@Example.COM ", "--reason", "she wrote to us",
                 "--actor", "kim", check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stderr.splitlines()] == [
        ["ann@example.com", "(email,", "tenant", "acme)", "is", "blacklisted"],
        ["because", *f"hard bounce on {NOW:%Y-%m-%d}: 550 5.1.1 mailbox does not exist".split()],
        ["since", f"{NOW:%Y-%m-%d}", f"{NOW:%H:%M}", "UTC"],
        ["message", "m1"],
        ["by", "sendlog"],
        ["refused", "1", "message", "since"],
        ["effect", *["a", "later", "send", "is", "Invalid"]],
        ["reset", *" ".join(ResetTerms.of(["hard_bounce"]).means).split()],
        " ".join(ResetTerms.of(["hard_bounce"]).elsewhere).split(),
    ]
    assert "done: reset (hard bounce)" in done.stdout
    assert "by kim: she wrote to us" in done.stdout
    assert "ann@example.com is not blacklisted now" in done.stdout
    assert entry_of(system, ann) is None
    printed = run(system, "show", ann)
    assert "is not blacklisted" in printed
    assert "reset (hard bounce) on" in printed

    system.publish([bounce_record(ann, "m3", datetime.now(UTC))])
    wait_for_rule(system, ann, "hard_bounce")
    assert changes(system, ann) == [
        ("added", "hard_bounce", "sendlog"), ("reset", "hard_bounce", "kim"),
        ("added", "hard_bounce", "sendlog"),
    ]  # fmt: skip


def test_a_reset_says_what_became_of_it_at_the_tenants_providers(system, tmp_path, monkeypatch):
    ivy, accounts = "ivy@example.com", tmp_path / "accounts.toml"
    accounts.write_text('[acme.sendgrid]\nkey = "k"\nurl = "http://127.0.0.1:9"')
    monkeypatch.setenv("SENDLOG_API__PROVIDER_ACCOUNTS", str(accounts))
    for options in ([], ["--format", "json"]):
        system.publish([bounce_record(ivy, f"ivy{len(options)}", datetime.now(UTC))])
        wait_for_rule(system, ivy, "hard_bounce")
        done = run(system, "reset", ivy, "--reason", "mended", *options, check=False)
        assert done.returncode == 0, done.stderr
        if options:
            [removal] = json.loads(done.stdout)["provider_lists"]
            assert (removal["provider"], removal["outcome"]) == ("SendGrid", "failed")
        else:
            printed = " ".join(done.stderr.split())
            assert "could not be taken off SendGrid's own list: it does not answer." in printed
            assert ResetTerms.of(["hard_bounce"]).elsewhere[0] not in printed


def test_a_reset_of_a_complaint_has_to_be_confirmed(system) -> None:
    bob = "bob@example.com"
    system.publish([event_record("sent", bob, "b1"), event_record("complaint", bob, "b1")])
    wait_for_rule(system, bob, "complaint")
    rejected = run(system, "reset", bob, "--reason", "he called", check=False)
    assert rejected.returncode == 1
    assert "refused: its owner reported spam: a reset has to be confirmed" in rejected.stderr
    assert "--confirm-complaint" in rejected.stderr
    assert entry_of(system, bob) is not None
    printed = run(
        system, "reset", bob, "--reason", "he called", "--confirm-complaint", "--format", "json"
    )
    outcome = json.loads(printed)
    assert (outcome["obeyed"], outcome["entry"]) == (True, None)
    assert [change for change, *_ in changes(system, bob)] == ["added", "refused", "reset"]


def test_an_unsubscribe_is_not_reset(system) -> None:
    cat = "cat@example.com"
    system.publish([event_record("unsubscribe", cat, "c1")])
    wait_for_rule(system, cat, "unsubscribe")
    rejected = run(system, "reset", cat, "--reason", "why not", "--format", "json", check=False)
    assert rejected.returncode == 1
    outcome = json.loads(rejected.stdout)
    assert outcome["refusal"] == "its owner unsubscribed, and only a new subscription ends that"
    assert outcome["entry"]["effect"] == "skipped"


def test_who_is_not_suppressed_cannot_be_reset_and_can_be_added_by_hand(system) -> None:
    dan = "+44 20 7946 0018"
    rejected = run(system, "reset", dan, "--reason", "to be sure", check=False)
    assert rejected.returncode == 1
    assert "+442079460018 (sms, tenant acme) is not blacklisted" in rejected.stderr
    assert "never was" in rejected.stderr
    assert "refused: it is not blacklisted" in rejected.stderr
    assert "is blacklisted: listed by hand" in run(system, "add", dan, "--reason", "a landline")
    entry = entry_of(system, dan)
    assert (entry["channel"], entry["rules"]) == ("sms", ["by_hand"])
    assert entry["reason"].endswith(": a landline")
    again = run(system, "add", dan, "--reason", "a landline", check=False)
    assert again.returncode == 1
    assert "it is blacklisted by hand already" in again.stderr


def test_a_reset_begins_to_count_soft_bounces_anew_where_nothing_is_suppressed_yet(system) -> None:
    gil = "gil@example.com"
    system.publish(
        [event_record("sent", gil, "g1"), event_record("bounce", gil, "g1", bounce_class="soft")]
    )
    retried = ("retries", "list", "--tenant", "acme", "--message-id", "g1", "--format", "json")
    wait_for(lambda: system.command(*retried), "the soft bounce to be counted")
    printed = run(system, "reset", gil, "--reason", "it was ours to mend")
    assert "done: reset on" in printed
    assert "gil@example.com is not blacklisted now" in printed
    assert entry_of(system, gil) is None


def test_on_a_terminal_a_reset_is_asked_about_and_no_leaves_all_as_it_is(system) -> None:
    hal = "hal@example.com"
    run(system, "add", hal, "--reason", "why")
    keyboard, terminal = pty.openpty()
    os.write(keyboard, b"n\n")
    command = [sys.executable, "-m", "processor", "suppressions", "reset", hal, "--tenant", "acme"]
    done = subprocess.run(
        [*command, "--reason", "why"], env={**os.environ, **system.environment}, stdin=terminal,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(keyboard)
    os.close(terminal)
    assert done.returncode == 1
    assert "Reset it?" in done.stderr
    assert changes(system, hal) == [("added", "by_hand", getpass.getuser())]


def test_a_file_is_imported_exported_and_imported_again(system) -> None:
    lines = [f"email,import{n}@example.com,moved in {n}" for n in range(300)]
    text = "\n".join(["channel,address,reason", *lines, lines[0], "sms,+442079460019,STOP"])
    assert run(system, "import", "-", input=text) == "301 addresses blacklisted\n"
    exported = run(system, "export", "--channel", "email")
    rows = list(csv.DictReader(io.StringIO(exported)))
    ours = {row["address"]: row for row in rows if row["address"].startswith("import")}
    assert len(ours) == 300
    assert {row["tenant"] for row in rows} == {"acme"}
    assert ours["import7@example.com"]["reason"] == "moved in 7"
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(ours.values())
    again = run(system, "import", "-", input=file.getvalue()).splitlines()
    assert again == [
        "0 addresses blacklisted", "300 left as they were: it is blacklisted by hand already",
    ]  # fmt: skip
    printed = run(system, "list", "--address", "import29", "--limit", "3", "--format", "csv")
    assert len(printed.splitlines()) == 1 + 3


def test_of_a_file_with_a_bad_line_nothing_is_published(system) -> None:
    text = "channel,address,reason\nemail,good@example.com,why\npost,a@example.com,why\n"
    rejected = run(system, "import", "-", input=text, check=False)
    assert rejected.returncode == 1
    assert "line 3: channel 'post' is neither email nor sms" in rejected.stderr
    assert "1 of 2 lines of - are bad: nothing was done" in rejected.stderr
    printed = run(system, "import", "-", "--skip-bad", input=text)
    assert printed == "1 addresses blacklisted\n"
    # Had the first attempt published it, this would have been the second.
    assert [change for change, *_ in changes(system, "good@example.com")] == ["added"]


def test_retries_are_listed_with_what_became_of_them(system) -> None:
    eve = "eve@example.com"
    at = datetime.now(UTC) - timedelta(minutes=1)
    system.publish([
        event_record("sent", eve, "e1", at),
        event_record("bounce", eve, "e1", at + timedelta(seconds=5), bounce_class="soft"),
    ])  # fmt: skip

    def retries():
        printed = system.command(
            "retries", "list", "--tenant", "acme", "--recipient", eve, "--format", "json"
        )
        return [json.loads(line) for line in printed.splitlines()]

    wait_for(retries, "the retry")
    (retry,) = retries()
    assert (retry["message_id"], retry["attempt"], retry["state"]) == ("e1", 2, "scheduled")
    assert retry["due_at"] > at.isoformat()
    options = ("--state", "scheduled", "--recipient", "Eve@Example.com")
    assert "e1" in system.command("retries", "list", "--tenant", "acme", *options)


def test_without_a_worker_a_command_says_that_it_is_on_kafka_and_still_takes_effect(system) -> None:
    for worker in system.workers:
        worker.stop()
    fay = "fay@example.com"
    rejected = run(system, "add", fay, "--reason", "why", "--wait", "0", check=False)
    assert rejected.returncode == 1
    assert "Kafka has it in delivery.commands" in rejected.stderr
    system.worker()
    wait_for_rule(system, fay, "by_hand")


def test_an_address_from_before_is_still_blacklisted_in_its_normal_form(system) -> None:
    old = {
        "channel": "email", "kind": "bounce", "tenant_id": "acme", "message_id": "old",
        "recipient": "zoë@bücher.example", "occurred_at": NOW, "recorded_at": NOW,
        "event_id": "f" * 32, "bounce_class": "hard", "smtp_code": 550,
    }  # fmt: skip
    system.client.insert("events", [list(old.values())], column_names=list(old), database="sendlog")
    assert "1 addresses have their normal form now" in system.command("migrate")
    wait_for_rule(system, "zoë@bücher.example", "hard_bounce")
    later = datetime.now(UTC)
    system.publish([event_record("sent", "Zoë <Zoë@xn--bcher-kva.example>", "new", later)])
    wait_for(lambda: entry_of(system, "ZOË@bücher.example")["refused_since"] == 1, "the refusal")
    assert "normal form" not in system.command("migrate")
