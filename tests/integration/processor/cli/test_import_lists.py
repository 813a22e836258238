"""Lists that providers keep, through a real worker with its policy: listed by their own rules."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.paths import DATA
from tests.system import DATABASE, running, wait_for

SENDGRID = DATA / "exports" / "sendgrid" / "lists"
POSTMARK = DATA / "exports" / "postmark" / "lists" / "suppressions.json"
SINCE = datetime(2025, 5, 6, 7, 10, 11, tzinfo=UTC)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("lists")) as system:
        system.worker()
        yield system


def entries(system, tenant):
    rows = system.rows(
        f"SELECT address, rules, since FROM {DATABASE}.suppressions WHERE tenant_id = {{t:String}}",
        t=tenant,
    )
    return {row["address"]: (sorted(row["rules"]), row["since"]) for row in rows}


def imported(system, file, list_name, *options, provider="sendgrid", tenant="acme", check=True):
    return system.command(
        "import", str(file), "--provider", provider, "--list", list_name, "--tenant", tenant,
        *options, check=check,
    )  # fmt: skip


def test_addresses_are_blacklisted_by_the_providers_rule_and_since_then(system):
    done = imported(system, SENDGRID / "bounces.csv", "bounces", check=False)
    assert done.returncode == 1  # one line has no time
    assert "1 bounces are not hard by the rules here: they list nobody" in done.stdout
    imported(system, SENDGRID / "unsubscribes.csv", "unsubscribes", tenant="other")
    imported(system, POSTMARK, "suppressions", provider="postmark", tenant="third")
    wait_for(lambda: len(entries(system, "third")) == 3, "the entries")
    system.wait_until_committed()
    assert entries(system, "acme") == {"ann@example.org": (["hard_bounce"], SINCE)}
    assert entries(system, "other") == {"ann@example.org": (["unsubscribe"], SINCE)}
    rules = {address: rules for address, (rules, _) in entries(system, "third").items()}
    assert rules == {
        "ann@example.org": ["hard_bounce"], "bob@example.org": ["complaint"],
        "cy@example.org": ["unsubscribe"],
    }  # fmt: skip
    # They are about addresses alone: no message gets a row.
    assert system.rows(f"SELECT message_id FROM {DATABASE}.email_log") == []

    refused = system.command(
        "suppressions", "reset", "ann@example.org", "--tenant", "other", "--reason", "why", "-y",
        check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "only a new subscription ends that" in refused.stderr


def test_a_list_that_is_imported_again_undoes_no_reset(system):
    imported(system, SENDGRID / "bounces.json", "bounces", tenant="reset")
    wait_for(lambda: entries(system, "reset"), "the entry")
    system.command(
        "suppressions", "reset", "ann@example.org", "--tenant", "reset", "--reason", "why", "-y"
    )
    again = imported(system, SENDGRID / "bounces.json", "bounces", tenant="reset")
    assert again == "left out: 1 in the log already\npublished 0 records\n"
    again = imported(system, SENDGRID / "bounces.json", "bounces", "--no-ask-log", tenant="reset")
    assert again.endswith("published 1 records\n")
    system.wait_until_committed()
    assert entries(system, "reset") == {}


def test_the_blacklist_goes_out_as_a_provider_takes_it_and_opt_outs_come_in(system, tmp_path):
    file = tmp_path / "consents.json"
    file.write_text(json.dumps({"items": [{"contact_id": "+12015550123", "status": "opt-out"}]}))
    printed = system.command(
        "suppressions", "import", str(file), "--from", "twilio", "--tenant", "third"
    )
    assert printed == "1 addresses blacklisted\n"
    done = system.command("suppressions", "export", "--tenant", "third", "--as", "ses", check=False)
    assert done.stdout.splitlines() == [
        "ann@example.org,BOUNCE", "bob@example.org,COMPLAINT", "cy@example.org,COMPLAINT",
    ]  # fmt: skip
    assert done.stderr.splitlines() == [
        "left out: 1 of sms",
        (
            "3 written; not carried over: reason and time; SES knows BOUNCE and COMPLAINT: who"
            " unsubscribed is a COMPLAINT"
        ),
    ]
    wrong = system.command("suppressions", "export", "--tenant", "x", "--as", "fax", check=False)
    assert "--as 'fax' is unknown; there are sendgrid-unsubscribes" in wrong.stderr


def test_a_list_that_does_not_exist_is_one_line(system):
    done = imported(system, SENDGRID / "bounces.csv", "blocks", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("sendlog: --list 'blocks' of sendgrid is unknown; there are")
