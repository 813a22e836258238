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

from processor.demo.render import Record
from tests.system import running, wait_for

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("blacklist")) as system:
        system.worker()
        yield system


def fact(kind, recipient, message_id, at=NOW, *, channel="email", **fields):
    value = {
        "channel": channel, "kind": kind, "tenant_id": "acme", "message_id": message_id,
        "recipient": recipient, "occurred_at": at.isoformat(), **fields,
    }  # fmt: skip
    stamp = int(at.timestamp() * 1000)
    return Record(f"{channel}.sends", None, json.dumps(value).encode(), (), stamp)


def bounced(recipient, message_id, at=NOW):
    return fact("bounce", recipient, message_id, at, bounce_class="hard", smtp_code=550,
                enhanced_status="5.1.1", diagnostic="mailbox does not exist")  # fmt: skip


def asked(system, *arguments, check=True, input=None):
    return system.command(
        "suppressions", *arguments, "--tenant", "acme", check=check, input=input
    )  # fmt: skip


def shown(system, address, *options):
    """Return the entry of an address as `show` has it, None if it is not listed."""
    lines = asked(system, "show", address, "--format", "json", *options).splitlines()
    return json.loads(lines[0]) if lines else None


def changes(system, address):
    lines = asked(system, "history", address, "--format", "json").splitlines()
    return [(line["change"], line["rule"], line["actor"]) for line in map(json.loads, lines)]


def listed_by(system, address, rule):
    wait_for(
        lambda: rule in (shown(system, address) or {"rules": ()})["rules"], f"{address} {rule}"
    )


def test_a_bounced_address_is_shown_reset_and_blacklisted_again_by_the_next_bounce(system) -> None:
    ann = "ann@example.com"
    system.publish([fact("sent", ann, "m1"), bounced(ann, "m1")])
    listed_by(system, ann, "hard_bounce")
    system.publish([fact("sent", ann, "m2", datetime.now(UTC))])
    wait_for(lambda: shown(system, ann)["refused_since"] == 1, "the refusal")

    done = asked(system, "reset", " Ann@Example.COM ", "--reason", "she wrote to us",
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
    ]
    assert "done: reset (hard bounce)" in done.stdout
    assert "by kim: she wrote to us" in done.stdout
    assert "ann@example.com is not blacklisted now" in done.stdout
    assert shown(system, ann) is None
    said = asked(system, "show", ann)
    assert "is not blacklisted" in said
    assert "reset (hard bounce) on" in said

    system.publish([bounced(ann, "m3", datetime.now(UTC))])
    listed_by(system, ann, "hard_bounce")
    assert changes(system, ann) == [
        ("added", "hard_bounce", "sendlog"), ("reset", "hard_bounce", "kim"),
        ("added", "hard_bounce", "sendlog"),
    ]  # fmt: skip


def test_a_reset_of_a_complaint_has_to_be_confirmed(system) -> None:
    bob = "bob@example.com"
    system.publish([fact("sent", bob, "b1"), fact("complaint", bob, "b1")])
    listed_by(system, bob, "complaint")
    refused = asked(system, "reset", bob, "--reason", "he called", check=False)
    assert refused.returncode == 1
    assert "refused: its owner reported spam: a reset has to be confirmed" in refused.stderr
    assert "--confirm-complaint" in refused.stderr
    assert shown(system, bob) is not None
    told = asked(system, "reset", bob, "--reason", "he called", "--confirm-complaint",
                 "--format", "json")  # fmt: skip
    assert (json.loads(told)["obeyed"], json.loads(told)["entry"]) == (True, None)
    assert [change for change, *_ in changes(system, bob)] == ["added", "refused", "reset"]


def test_an_unsubscribe_is_not_reset(system) -> None:
    cat = "cat@example.com"
    system.publish([fact("unsubscribe", cat, "c1")])
    listed_by(system, cat, "unsubscribe")
    refused = asked(system, "reset", cat, "--reason", "why not", "--format", "json", check=False)
    assert refused.returncode == 1
    told = json.loads(refused.stdout)
    assert told["refusal"] == "its owner unsubscribed, and only a new subscription ends that"
    assert told["entry"]["effect"] == "skipped"


def test_who_is_not_listed_cannot_be_reset_and_can_be_listed_by_hand(system) -> None:
    dan = "+44 20 7946 0018"
    refused = asked(system, "reset", dan, "--reason", "to be sure", check=False)
    assert refused.returncode == 1
    assert "+442079460018 (sms, tenant acme) is not blacklisted" in refused.stderr
    assert "never was" in refused.stderr
    assert "refused: it is not blacklisted" in refused.stderr
    assert "is blacklisted: by hand" in asked(system, "add", dan, "--reason", "a landline")
    entry = shown(system, dan)
    assert (entry["channel"], entry["rules"]) == ("sms", ["by_hand"])
    assert entry["reason"].endswith(": a landline")
    again = asked(system, "add", dan, "--reason", "a landline", check=False)
    assert again.returncode == 1
    assert "it is blacklisted by hand already" in again.stderr


def test_a_reset_begins_to_count_soft_bounces_anew_where_nothing_is_listed_yet(system) -> None:
    gil = "gil@example.com"
    system.publish([fact("sent", gil, "g1"), fact("bounce", gil, "g1", bounce_class="soft")])
    retried = ("retries", "list", "--tenant", "acme", "--message-id", "g1", "--format", "json")
    wait_for(lambda: system.command(*retried), "the soft bounce to be counted")
    told = asked(system, "reset", gil, "--reason", "it was ours to mend")
    assert "done: reset on" in told
    assert "gil@example.com is not blacklisted now" in told
    assert shown(system, gil) is None


def test_on_a_terminal_a_reset_is_asked_about_and_no_leaves_all_as_it_is(system) -> None:
    hal = "hal@example.com"
    asked(system, "add", hal, "--reason", "why")
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
    told = asked(system, "import", "-", input=text)
    assert told == "301 addresses blacklisted\n"
    exported = asked(system, "export", "--channel", "email")
    rows = list(csv.DictReader(io.StringIO(exported)))
    ours = {row["address"]: row for row in rows if row["address"].startswith("import")}
    assert len(ours) == 300
    assert {row["tenant"] for row in rows} == {"acme"}
    assert ours["import7@example.com"]["reason"] == "moved in 7"
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(ours.values())
    again = asked(system, "import", "-", input=file.getvalue()).splitlines()
    assert again == [
        "0 addresses blacklisted", "300 left as they were: it is blacklisted by hand already",
    ]  # fmt: skip
    found = asked(system, "list", "--address", "import29", "--limit", "3", "--format", "csv")
    assert len(found.splitlines()) == 1 + 3


def test_of_a_file_with_a_bad_line_nothing_is_published(system) -> None:
    text = "channel,address,reason\nemail,good@example.com,why\npost,a@example.com,why\n"
    refused = asked(system, "import", "-", input=text, check=False)
    assert refused.returncode == 1
    assert "line 3: channel 'post' is neither email nor sms" in refused.stderr
    assert "1 of 2 lines of - are bad: nothing was done" in refused.stderr
    told = asked(system, "import", "-", "--skip-bad", input=text)
    assert told == "1 addresses blacklisted\n"
    # Had the first attempt published it, this would have been the second.
    assert [change for change, *_ in changes(system, "good@example.com")] == ["added"]


def test_retries_are_listed_with_what_became_of_them(system) -> None:
    eve = "eve@example.com"
    at = datetime.now(UTC) - timedelta(minutes=1)
    system.publish([
        fact("sent", eve, "e1", at),
        fact("bounce", eve, "e1", at + timedelta(seconds=5), bounce_class="soft"),
    ])  # fmt: skip

    def retries():
        told = system.command(
            "retries", "list", "--tenant", "acme", "--recipient", eve, "--format", "json"
        )
        return [json.loads(line) for line in told.splitlines()]

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
    refused = asked(system, "add", fay, "--reason", "why", "--wait", "0", check=False)
    assert refused.returncode == 1
    assert "Kafka has it in delivery.commands" in refused.stderr
    system.worker()
    listed_by(system, fay, "by_hand")
