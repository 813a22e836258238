"""What mail servers report is read in every form they write it in, and never raises."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import MessageEvent
from schemas.providers import adapters, decode
from schemas.providers.reports import envelope_addresses
from schemas.providers.verp import compile_pattern, verp_fields
from tests.mailboxes import OUTCOMES, UNREADABLE, Outcome, mails

ADAPTER = adapters()["reports"]
ARRIVED_MS = 1_748_779_200_005
MAILS = mails()
FORM = """Return-Path: <>
From: MAILER-DAEMON@mx.example.net
To: bounces+m-1@mail.example.com
Subject: failure notice
"""
STATUS = """MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain

For people.

--b1
Content-Type: message/delivery-status

{fields}

--b1--
"""


def read(payload: str | bytes, **headers):
    raw = payload if isinstance(payload, bytes) else payload.encode("utf-8", "surrogateescape")
    return decode(ADAPTER, raw, headers, ARRIVED_MS, "default")


def one(payload: str | bytes, **headers):
    decoded = read(payload, **headers)
    assert not decoded.rejected, decoded.rejected
    (event,) = decoded.events
    return event


def status(fields: str) -> str:
    return FORM + STATUS.format(fields=fields)


# ------------------------------------------------------------------------ every system


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_mail_of_each_system_becomes_its_events(name):
    decoded = read(MAILS[name])
    assert not decoded.rejected
    assert [
        Outcome(e["kind"], e["message_id"], e["recipient"], e.get("bounce_class"))
        for e in decoded.events
    ] == OUTCOMES[name]


def test_the_mailbox_has_no_other_mails():
    assert set(MAILS) == {*OUTCOMES, *UNREADABLE}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_daemon_that_says_what_nobody_knows_is_a_dead_letter(name):
    decoded = read(MAILS[name])
    assert not decoded.events
    assert "no form that is known" in decoded.rejected[0].reason


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_way_a_mail_took_is_not_part_of_what_it_says(name):
    raw = MAILS[name]
    other = b"Received: from elsewhere; Tue, 06 May 2025 08:00:00 +0000\r\n" + raw
    first, again = read(raw), read(other.replace(b"\n", b"\r\n"))
    assert [e["event_id"] for e in first.events] == [e["event_id"] for e in again.events]


# ------------------------------------------------------------------------------ status


@pytest.mark.parametrize(
    ("fields", "outcomes"),
    [
        (  # no blank line between the message and its recipient
            "Reporting-MTA: dns; x\nFinal-Recipient: rfc822; a@example.org\nAction: failed",
            [("bounce", "a@example.org")],
        ),
        (  # nor between recipients
            ("Final-Recipient: rfc822; a@example.org\nAction: failed\n"
            "Final-Recipient: rfc822; b@example.org\nAction: delayed"),
            [("bounce", "a@example.org"), ("deferral", "b@example.org")],
        ),
        (  # one too many within a group
            ("Final-Recipient: rfc822; a@example.org\n\nAction: failed\nStatus: 5.1.1\n\n"
            "Final-Recipient: rfc822; b@example.org\nAction: delayed"),
            [("bounce", "a@example.org"), ("deferral", "b@example.org")],
        ),
        (  # the action first, and the original address of the second only
            ("Action: failed\nFinal-Recipient: rfc822; a@example.org\n\n"
            "Original-Recipient: rfc822; b@example.org\nFinal-Recipient: rfc822; c@example.org\n"
            "Action: failed"),
            [("bounce", "a@example.org"), ("bounce", "b@example.org")],
        ),
        ("final-recipient: <a@example.org>\nACTION: Failed", [("bounce", "a@example.org")]),
        ("Final-Recipient: a@example.org\nAction: failed (gave up)", [("bounce", "a@example.org")]),
        ("Final-Recipient: x400; /c=gb/\nAction: failed", [("bounce", "")]),
    ],
)  # fmt: skip
def test_groups_are_told_apart_however_they_are_laid_out(fields, outcomes):
    decoded = read(status(fields))
    assert not decoded.rejected
    assert [(e["kind"], e["recipient"]) for e in decoded.events] == outcomes


def test_an_action_that_is_not_known_leaves_the_other_recipients_alone():
    decoded = read(status(
        "Final-Recipient: rfc822; a@example.org\nAction: teleported\n\n"
        "Final-Recipient: rfc822; b@example.org\nAction: failed"
    ))  # fmt: skip
    assert [event["recipient"] for event in decoded.events] == ["b@example.org"]
    assert [part.reason for part in decoded.rejected] == [
        "action 'teleported' of a recipient is not known"
    ]


def test_without_a_boundary_the_fields_are_read_all_the_same():
    text = status("Final-Recipient: rfc822; a@example.org\nAction: failed\nStatus: 5.1.1")
    for broken in (text.replace('; boundary="b1"', ""), text.replace('"b1"', '"b2"')):
        event = one(broken)
        assert (event["recipient"], event["enhanced_status"]) == ("a@example.org", "5.1.1")


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("Tue, 6 May 2025 09:10:11 +0200 (CEST)", "2025-05-06T07:10:11+00:00"),
        ("Tue, 6 May 2025 07:10:11 -0000", "2025-05-06T07:10:11+00:00"),
        ("yesterday", "2025-06-01T12:00:00.005000+00:00"),
        ("Tue, 6 May 1925 07:10:11 +0000", "2025-06-01T12:00:00.005000+00:00"),
        ("Tue, 36 May 2025 07:10:11 +9999", "2025-06-01T12:00:00.005000+00:00"),
    ],
)
def test_a_date_that_cannot_be_true_is_no_date(date, moment):
    fields = f"Final-Recipient: rfc822; a@example.org\nAction: failed\nLast-Attempt-Date: {date}"
    assert one(status(fields))["occurred_at"].isoformat() == moment


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_a_status_that_is_encoded_for_transfer_is_decoded(encoding):
    fields = {
        "base64": "RmluYWwtUmVjaXBpZW50OiByZmM4MjI7IGFAZXhhbXBsZS5vcmcKQWN0aW9uOiBmYWlsZWQK",
        "quoted-printable": "Final-Recipient: rfc822; a=40example.org\nAction: fai=\nled",
    }[encoding]
    text = status(fields).replace(
        "message/delivery-status\n",
        f"message/delivery-status\nContent-Transfer-Encoding: {encoding}\n",
    )
    assert one(text)["recipient"] == "a@example.org"


# ------------------------------------------------------------------------------- texts


def bounce(body: str, **more) -> bytes:
    return (FORM + "\n" + body).encode("utf-8", "surrogateescape")


def test_an_address_within_another_is_not_it():
    decoded = read(bounce(
        "A message could not be delivered to one or more recipients.\n\n"
        "<ann@example.org>: 552 5.2.2 full\n\n<joann@example.org>: 550 5.1.1 unknown\n"
    ))  # fmt: skip
    assert {e["recipient"]: e["bounce_class"] for e in decoded.events} == {
        "ann@example.org": "soft", "joann@example.org": "hard",
    }  # fmt: skip


def test_a_reply_that_names_one_address_is_not_that_of_another():
    decoded = read(bounce(
        "was not delivered to:\n  ann@example.org\n  ben@example.org\nbecause:\n"
        "  550 5.1.1 <ben@example.org> unknown\n"
    ))  # fmt: skip
    by_recipient = {e["recipient"]: e.get("diagnostic", "") for e in decoded.events}
    assert by_recipient == {
        "ann@example.org": "", "ben@example.org": "550 5.1.1 <ben@example.org> unknown",
    }  # fmt: skip


def test_a_warning_is_no_bounce_whatever_else_it_says():
    event = one(bounce(
        "THIS IS A WARNING ONLY.\nYour message could not be delivered to one or more recipients\n"
        "for 4 hours.\n\n<ann@example.org>: 450 4.2.0 try again\n"
    ))  # fmt: skip
    assert event["kind"] == "deferral"


@pytest.mark.parametrize(
    "sender", ["Ann <ann@example.org>", "fbl@example.org", "Daemon Ann <ann.daemon@example.org>"]
)
def test_who_is_no_mail_server_reports_nothing(sender):
    text = bounce("Hi. This is the mail system.\n<ann@example.org>: 550 5.1.1 unknown\n")
    text = text.replace(b"Return-Path: <>\n", b"").replace(
        b"MAILER-DAEMON@mx.example.net", sender.encode()
    )
    assert read(text) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        "Hi. This is the office of Ann, who is away until Monday. Write to\n\n  ben@example.org\n",
        "I am on holiday. Delivery of your parcel has failed? Ask\n  ben@example.org\n",
        "Your message was received.\n",
    ],
)
def test_an_automatic_reply_without_a_return_path_reports_nothing(text):
    raw = bounce(text).replace(b"MAILER-DAEMON@mx.example.net", b"ann@example.org")
    assert read(raw.replace(b"Subject:", b"Auto-Submitted: auto-replied\nSubject:")) == ([], [])


@pytest.mark.parametrize("charset", ["x-nobody", "utf-8", "utf-7\0", "latin-1", "idna", "base64"])
def test_a_charset_that_is_wrong_costs_letters_and_not_the_event(charset):
    text = FORM + f'Content-Type: text/plain; charset="{charset}"\n\n'
    raw = (
        text.encode()
        + b"Hi. This is the qmail program.\n<a@example.org>:\ninconnu \xe9\xff\0 550 5.1.1 x\n"
    )
    event = one(raw)
    assert (event["recipient"], event["enhanced_status"]) == ("a@example.org", "5.1.1")
    assert "\0" not in event["diagnostic"]


def test_headers_in_eight_bits_are_read():
    raw = bounce("Hi. This is the qmail program.\n<a@example.org>:\n550 5.1.1 x\n")
    raw = raw.replace(b"failure notice", b"\xe9chec \xff").replace(
        b"To: ", b"X-J\xf6rg: \xf6\nTo: "
    )
    assert one(raw)["message_id"] == "m-1"


def test_a_report_within_a_report_is_not_read():
    inner = status("Final-Recipient: rfc822; ann@example.org\nAction: failed")
    outer = status("Final-Recipient: rfc822; ben@example.org\nAction: delayed").replace(
        "--b1--", "--b1\nContent-Type: message/rfc822\n\n" + inner.replace("b1", "b2") + "--b1--"
    )
    assert one(outer)["recipient"] == "ben@example.org"


def test_a_large_mail_is_read_as_far_as_a_report_goes():
    text = status("Final-Recipient: rfc822; ann@example.org\nAction: failed").replace(
        "--b1--",
        "--b1\nContent-Type: message/rfc822\n\nMessage-ID: <x@y>\n\n" + "a line\n" * 100_000,
    )
    assert one(text)["provider_message_id"] == "x@y"


# ------------------------------------------------------------------------------ whoever


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("bounces+m-1@mail.example.com", {"message_id": "m-1"}),
        ("<Bounce+M-1@mail.example.com>", {"message_id": "M-1"}),
        ("returns+m-1+a.b=example.org@x", {"message_id": "m-1", "recipient": "a.b@example.org"}),
        ("bounces+m+a+tag=example.org@x", {"message_id": "m", "recipient": "a+tag@example.org"}),
        ("bounces+ann=example.org@x", {"recipient": "ann@example.org"}),
        ("bounces@mail.example.com", {}),
        ("fbl+yahoo@mail.example.com", {}),
        ("bounces+@mail.example.com", {}),
        ("bounces+" + "m" * 600 + "@x", {}),
    ],
)  # fmt: skip
def test_a_variable_return_path_says_which_message(address, fields):
    assert verp_fields([address]) == fields


def test_the_first_address_that_fits_counts():
    assert verp_fields(["a@b", "bounces+1@b", "bounces+2@b"]) == {"message_id": "1"}


def test_a_deployment_has_a_form_of_its_own():
    pattern = compile_pattern(r"b-(?P<tenant>[^-]+)-(?P<message>[^@]+)@.*")
    assert verp_fields(["b-acme-m-7@x"], pattern) == {"tenant_id": "acme", "message_id": "m-7"}


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", "is no regular expression"),
        ("a@b", "has none of"),
        ("(?P<who>.)", "has the group 'who'"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(pattern, problem):
    with pytest.raises(ValueError, match=problem):
        compile_pattern(pattern)


def test_the_addresses_of_a_complaint_are_those_of_its_report_too():
    addresses = envelope_addresses(MAILS["yahoo-complaint"], {})
    assert addresses[0] == "fbl@harbour.example"
    assert "<bounces+m-yahoofbl@mail.harbour.example>" in addresses


# -------------------------------------------------------------------------- broken mails


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_is_broken_gives_events_or_rejections(data):
    raw = bytearray(MAILS[data.draw(st.sampled_from(sorted(MAILS)))])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw)))
        length = data.draw(st.integers(0, 200))
        odd = data.draw(st.sampled_from([
            b"", b"\0", b"\xff", b"\r", b"\n\n", b"--", b"=?utf-8?b?\xff?=", b"; boundary*0*=x''%",
            b"charset=x-nobody", b"Content-Transfer-Encoding: base64\n", b"(((", b'"', b"<",
            b"\\x{110000}", b"From: \xe9\n", b"@", b"Content-Type: multipart/mixed\n",
        ]))  # fmt: skip
        raw[place : place + length] = odd
    decoded = read(bytes(raw))
    for event in decoded.events:
        MessageEvent.model_validate(event)
    assert all(part.reason for part in decoded.rejected)
    assert not [part for part in decoded.rejected if re.search("unexpected shape", part.reason)]
