"""Files of addresses to blacklist: what is read, what is refused and in which line, and back."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from processor.policy.outputs import reason_text
from processor.suppression_files import (
    WRITTEN_COLUMNS,
    BadFileRow,
    FileRow,
    SuppressionFileError,
    entry_to_row,
    read_rows,
    write_entries,
)
from schemas.addresses import Address

HEADER = "channel,address,reason\n"


def read(text, tenant="acme"):
    return list(read_rows(io.StringIO(text), tenant))


def why(text, tenant="acme"):
    """Return what is wrong with the only line after the header."""
    (row,) = read(text, tenant)
    assert isinstance(row, BadFileRow)
    assert row.line_number == 2
    return row.why


def entry(**fields):
    return {
        "tenant_id": "acme", "channel": "email", "address": "a@example.com", "rule": "hard_bounce",
        "rules": ["hard_bounce"], "since": datetime(2026, 11, 1, 9, 30, tzinfo=UTC), "until": None,
        "reason": "550 5.1.1, mailbox does not exist", "actor": "sendlog", "message_id": "m1",
        "cause_event_id": "", "effect": "invalid", **fields,
    }  # fmt: skip


def test_a_line_says_whom_to_blacklist_and_why() -> None:
    text = HEADER + 'email, Ann@Example.COM ,"moved, twice"\nsms,+44 20 7946-0018,asked us\n'
    assert read(text) == [
        FileRow(2, Address("acme", "email", "ann@example.com"), "moved, twice"),
        FileRow(3, Address("acme", "sms", "+442079460018"), "asked us"),
    ]


def test_columns_come_in_any_order_and_others_are_left_alone() -> None:
    text = "\ufeffReason, Note,ADDRESS,channel,tenant\nhe said so,x,a@example.com,EMAIL,acme\n"
    assert read(text) == [FileRow(2, Address("acme", "email", "a@example.com"), "he said so")]


def test_empty_lines_are_no_lines_and_numbers_are_those_of_the_file() -> None:
    text = HEADER + '\nemail,a@example.com,"over\ntwo lines"\n\nemail,nobody,why\n'
    good, bad = read(text)
    assert (good.line_number, good.reason) == (4, "over\ntwo lines")
    assert bad.line_number == 6
    assert bad.why.startswith("'nobody' is not an email address: ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("post,a@example.com,why", "channel 'post' is neither email nor sms"),
        ("email,,why", "no address"),
        ("email,a@example.com", "no reason"),
        ("email", "no address and no reason"),
        ("email,a b@example.com,why", "'a b@example.com' is not an email address"),
        ("email,@example.com,why", "'@example.com' is not an email address"),
        (f"email,{'a' * 320}@example.com,why", "is not an email address"),
        ("sms,a@example.com,why", "'a@example.com' is not a phone number"),
        ("sms,12,why", "'12' is not a phone number"),
        ("email,a@example.com,moved, twice", "there are more values than columns"),
        (f"email,a@example.com,{'x' * 1025}", "longer than 1024"),
    ],
)
def test_a_line_that_cannot_be_used_says_why(line, said) -> None:
    assert said in why(HEADER + line + "\n")


def test_a_line_of_another_tenant_is_bad() -> None:
    text = "tenant,channel,address,reason\nrival,email,a@example.com,why\n"
    assert why(text) == "of tenant 'rival', not 'acme'"
    assert isinstance(read(text, "rival")[0], FileRow)


@pytest.mark.parametrize("text", ["", "\n", "email,a@example.com,why\n", "channel,address\n"])
def test_a_file_without_the_columns_is_refused_whole(text) -> None:
    with pytest.raises(SuppressionFileError, match=r"the header lacks .*reason"):
        read(text)


def test_a_file_that_is_no_csv_says_where() -> None:
    with pytest.raises(SuppressionFileError, match="line 2 is not CSV"):
        read(HEADER + 'email,a@example.com,"open\n')


def test_the_reason_of_a_file_is_what_was_said_and_not_when_and_by_whom_too() -> None:
    since = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
    listed = entry(rule="by_hand", actor="kim", since=since, reason="moved: twice")
    listed["reason"] = f"{reason_text('by_hand', since, 'kim')}: moved: twice"
    assert listed["reason"] == "listed by hand by kim on 2026-11-01: moved: twice"
    assert entry_to_row(listed)["reason"] == "moved: twice"


def test_what_is_exported_can_be_imported_again() -> None:
    entries = [
        entry(),
        entry(address='"odd, one"@example.com'.replace(" ", ""), reason='he said "no",\ntwice'),
        entry(channel="sms", address="+442079460018", rule="opt_out", reason="STOP"),
        entry(address="b@example.com", until=datetime(2027, 1, 1, tzinfo=UTC)),
    ]
    file = io.StringIO()
    write_entries(entries, file)
    assert file.getvalue().splitlines()[0] == ",".join(WRITTEN_COLUMNS)
    got = read(file.getvalue())
    assert [(row.address, row.reason) for row in got] == [
        (Address(each["tenant_id"], each["channel"], each["address"]), each["reason"])
        for each in entries
    ]


def test_an_entry_without_a_reason_is_exported_with_its_rule_as_one() -> None:
    file = io.StringIO()
    write_entries([entry(rule="echo", reason="")], file)
    (row,) = read(file.getvalue())
    assert row.reason == "echo"
