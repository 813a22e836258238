"""The blacklist as providers take it, and their opt-outs as rows: what is carried over."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from processor.provider_lists.list_files import WRITTEN_LISTS, twilio_lines, write_list
from processor.suppression_files import FileRow, read_rows
from schemas.decisions import SUPPRESSION_RULES

SINCE = datetime(2025, 5, 6, 7, 10, 11, tzinfo=UTC)


def entry(address, *rules, channel="email", until=None, reason="550 5.1.1, unknown"):
    return {
        "channel": channel, "address": address, "rule": rules[0], "rules": list(rules),
        "since": SINCE, "until": until, "reason": reason,
    }  # fmt: skip


ENTRIES = [
    entry("ann@example.org", "hard_bounce"),
    entry("bob@example.org", "complaint", "hard_bounce"),
    entry("cy@example.org", "unsubscribe"),
    entry("di@example.org", "soft_bounces", until=SINCE),
    entry("+12015550123", "opt_out", channel="sms"),
]


def written(name):
    lines = []
    report = write_list(name, ENTRIES, lines.append)
    assert report.written + sum(report.left_out.values()) == len(ENTRIES)
    return lines, dict(report.left_out)


TEMPORARY = "that end by themselves, as there they would not"


@pytest.mark.parametrize(
    ("name", "lines", "left_out"),
    [
        (
            "sendgrid-unsubscribes",
            ["email", "ann@example.org", "bob@example.org", "cy@example.org"],
            {"of sms": 1, TEMPORARY: 1},
        ),
        (
            "mailgun-bounces",
            [
                "address,code,error,created_at",
                'ann@example.org,550,"550 5.1.1, unknown","Tue, 06 May 2025 07:10:11 +0000"',
                'bob@example.org,550,"550 5.1.1, unknown","Tue, 06 May 2025 07:10:11 +0000"',
            ],
            {"by unsubscribe": 1, "of sms": 1, TEMPORARY: 1},
        ),
        (
            "mailgun-complaints",
            ["address,created_at", 'bob@example.org,"Tue, 06 May 2025 07:10:11 +0000"'],
            {"by hard_bounce": 1, "by unsubscribe": 1, "of sms": 1, TEMPORARY: 1},
        ),
        (
            "mailgun-unsubscribes",
            ["address,tags,created_at", 'cy@example.org,*,"Tue, 06 May 2025 07:10:11 +0000"'],
            {"by hard_bounce": 1, "by complaint": 1, "of sms": 1, TEMPORARY: 1},
        ),
        (
            "ses",
            ["ann@example.org,BOUNCE", "bob@example.org,COMPLAINT", "cy@example.org,COMPLAINT"],
            {"of sms": 1, TEMPORARY: 1},
        ),
    ],
)
def test_a_list_has_what_the_provider_takes_and_the_rest_is_counted(name, lines, left_out):
    assert written(name) == (lines, left_out)


def test_requests_are_a_line_each_and_no_larger_than_the_provider_takes():
    lines = []
    write_list("postmark", [entry(f"a{n}@x.org", "complaint") for n in range(51)], lines.append)
    sizes = [len(json.loads(line)["Suppressions"]) for line in lines]
    assert sizes == [50, 1]
    assert json.loads(lines[1]) == {"Suppressions": [{"EmailAddress": "a50@x.org"}]}
    assert json.loads(written("mandrill")[0][0]) == {
        "email": "ann@example.org", "comment": "550 5.1.1, unknown",
    }  # fmt: skip


def test_opt_outs_go_to_twilio_and_come_back():
    [line], left_out = written("twilio-opt-outs")
    [item] = json.loads(line)["Items"]
    assert {**item, "correlation_id": len(item["correlation_id"])} == {
        "contact_id": "+12015550123", "status": "opt-out", "source": "others", "correlation_id": 32,
        "date_of_consent": "2025-05-06T07:10:11Z", "sender_id": "",
    }  # fmt: skip
    assert left_out == {"of email": 4}
    [row] = read_rows(twilio_lines(line), "acme")
    assert isinstance(row, FileRow)
    assert (row.address, row.reason) == (
        ("acme", "sms", "+12015550123"), "opted out at Twilio on 2025-05-06",
    )  # fmt: skip


def test_who_opted_in_again_is_left_out_of_twilios_csv():
    text = (
        "Contact ID,Status,Date of consent\n+12015550123,opt-out,2025-05-06\n+12015550124,opt-in,\n"
    )
    rows = list(read_rows(twilio_lines(text), "acme"))
    assert [row.address.address for row in rows] == ["+12015550123"]
    with pytest.raises(ValueError, match="Expecting"):
        list(twilio_lines("{"))


def test_every_rule_has_a_list_that_takes_it():
    for rule in SUPPRESSION_RULES:
        assert any(rule in form.rules for form in WRITTEN_LISTS.values()), rule
    assert all(form.lost for form in WRITTEN_LISTS.values())
