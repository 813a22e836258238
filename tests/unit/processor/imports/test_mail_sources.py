"""A mailbox and a Postfix log become records, and say when and about which message."""

from __future__ import annotations

import mailbox
import shutil
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from processor.imports import mail_sources
from processor.imports.mail_sources import (
    MailSourceError,
    PostfixLog,
    log_lines,
    mailbox_records,
    open_mailbox,
    stamp_time,
)
from schemas.providers import adapters, decode
from tests.mailboxes import REPORTS, mails

NOW = datetime(2025, 5, 7, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
ARRIVED_MS = 1_746_600_000_000


# ------------------------------------------------------------------------- mailboxes


def test_an_mbox_gives_its_mails_in_their_order():
    records = list(mailbox_records(open_mailbox(REPORTS), 1_000_000, ""))
    assert [record.value for record in records] == list(mails().values())
    assert {tuple(record.headers) for record in records} == {()}


def test_a_maildir_gives_the_same_mails(tmp_path):
    box = mailbox.Maildir(tmp_path / "bounces")
    for mail in mails().values():
        box.add(mail)
    records = mailbox_records(open_mailbox(tmp_path / "bounces"), 1_000_000, "")
    assert sorted(record.value for record in records) == sorted(mails().values())


def test_reading_changes_no_mailbox(tmp_path):
    copy = tmp_path / "bounces"
    shutil.copy(REPORTS, copy)
    before = copy.stat().st_mtime_ns
    assert list(mailbox_records(open_mailbox(copy), 1_000_000, ""))
    assert copy.read_bytes() == REPORTS.read_bytes()
    assert copy.stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [copy]


def test_a_mail_that_is_gone_meanwhile_is_left_out(tmp_path):
    box = mailbox.Maildir(tmp_path / "bounces")
    keys = [box.add(mail) for mail in list(mails().values())[:3]]
    opened = open_mailbox(tmp_path / "bounces")
    assert len(opened) == 3
    box.remove(keys[1])
    assert len(list(mailbox_records(opened, 1_000_000, ""))) == 2


def test_a_mail_over_the_limit_is_cut_and_says_the_same():
    whole = {e["event_id"] for e in read(mails()["postfix"])}
    (cut,) = [
        record.value
        for record in mailbox_records(open_mailbox(REPORTS), 1_800, "")
        if b"<postfix@reports" in record.value
    ]
    assert len(cut) == 1_800 < len(mails()["postfix"])
    assert {e["event_id"] for e in read(cut)} == whole


def test_a_return_path_of_a_form_of_its_own_is_read_into_a_header():
    pattern = r"bounces\+m-(?P<message>[^@+]+).*@.*"
    headers = {
        record.headers.get("x-callback-query")
        for record in mailbox_records(open_mailbox(REPORTS), 1_000_000, pattern)
    }
    assert {"message_id=postfix", "message_id=yahoofbl", None} <= headers


@pytest.mark.parametrize("kind", ["missing", "folder", "file"])
def test_what_is_no_mailbox_is_named(tmp_path, kind):
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("nothing of the kind")
    with pytest.raises(MailSourceError, match=str(path)):
        open_mailbox(path)


def read(mail):
    return decode(adapters()["reports"], mail, {}, ARRIVED_MS, "default").events


# ------------------------------------------------------------------------------ Postfix


LOG = """\
May  6 09:10:10 mx postfix/smtpd[1]: connect from app.example.com[192.0.2.9]
May  6 09:10:10 mx postfix/smtpd[1]: 1A2B3C4D5E: client=app.example.com[192.0.2.9]
May  6 09:10:10 mx postfix/cleanup[2]: 1A2B3C4D5E: message-id=<msg-1@example.com>
May  6 09:10:10 mx postfix/qmgr[3]: 1A2B3C4D5E: from=<office@example.com>, size=4, nrcpt=2 (queue active)
May  6 09:10:10 mx postfix/cleanup[2]: 9Z8Y: message-id=<no queue id@example.com>
May  6 09:10:10 mx postfix/cleanup[2]: 4ZrT5K1Gbcz9sHX: message-id=<msg-2@example.com>
May  6 09:10:11 mx postfix/smtp[4]: 1A2B3C4D5E: to=<ann@example.org>, relay=mx.example.org[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok)
May  6 09:10:12 mx postfix/smtp[4]: 1A2B3C4D5E: to=<ben@example.org>, relay=mx.example.org[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=4.2.2, status=deferred (host mx said: 452 4.2.2 full)
May  6 09:10:12 mx dovecot: imap-login: nothing of Postfix
May  6 09:10:13 mx postfix/smtp[4]: 4ZrT5K1Gbcz9sHX: to=<cleo@example.org>, relay=none, delay=1, delays=0/0/0/1, dsn=5.4.4, status=bounced (Host not found)
May  6 09:10:13 mx postfix/bounce[5]: 4ZrT5K1Gbcz9sHX: sender non-delivery notification: 4ZrT5K1Gbcz9sHY
May  6 09:10:13 mx postfix/cleanup[2]: 4ZrT5K1Gbcz9sHY: message-id=<dsn@mx.example.com>
May  6 09:10:13 mx postfix/qmgr[3]: 4ZrT5K1Gbcz9sHY: from=<>, size=4, nrcpt=1 (queue active)
May  6 09:10:13 mx postfix/qmgr[3]: 4ZrT5K1Gbcz9sHX: removed
May  6 09:10:14 mx postfix/local[6]: 4ZrT5K1Gbcz9sHY: to=<office@example.com>, relay=local, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (delivered to mailbox)
May  7 09:10:10 mx postfix/qmgr[3]: 1A2B3C4D5E: from=<office@example.com>, size=4, nrcpt=2 (queue active)
May  7 09:10:12 mx postfix/smtp[4]: 1A2B3C4D5E: to=<ben@example.org>, relay=mx.example.org[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=4.2.2, status=deferred (host mx said: 452 4.2.2 still full)
May  7 09:10:13 mx postfix/qmgr[3]: 1A2B3C4D5E: from=<office@example.com>, status=expired, returned to sender
May  7 09:10:13 mx postfix/qmgr[3]: 1A2B3C4D5E: removed
"""  # noqa: E501 - lines as they are logged


def postfix_events(text, latest=NOW, **options):
    log = PostfixLog(options.pop("zone", BERLIN), **options)
    records = [
        record for line in log_lines(text.encode().splitlines(keepends=True))
        for record in log.records(line, latest)
    ]  # fmt: skip
    decoded = [
        decode(adapters()["postfix"], record.value, record.headers, ARRIVED_MS, "default")
        for record in records
    ]
    assert not [one for one in decoded if one.rejected]
    return [event for one in decoded for event in one.events], log


def test_each_delivery_finds_its_message_by_the_queue_id():
    events, _ = postfix_events(LOG)
    assert [
        (e["kind"], e["message_id"], e["recipient"], e["occurred_at"].isoformat()) for e in events
    ] == [
        ("delivery", "msg-1@example.com", "ann@example.org", "2025-05-06T07:10:11+00:00"),
        ("deferral", "msg-1@example.com", "ben@example.org", "2025-05-06T07:10:12+00:00"),
        ("bounce", "msg-2@example.com", "cleo@example.org", "2025-05-06T07:10:13+00:00"),
        ("deferral", "msg-1@example.com", "ben@example.org", "2025-05-07T07:10:12+00:00"),
        ("bounce", "msg-1@example.com", "ben@example.org", "2025-05-07T07:10:13+00:00"),
    ]
    assert [e.get("bounce_class") for e in events if e["kind"] == "bounce"] == ["hard", "soft"]
    assert events[-1]["diagnostic"] == "host mx said: 452 4.2.2 still full"


def test_what_has_left_the_queue_is_forgotten():
    _, log = postfix_events(LOG)
    assert set(log._messages) == {"4ZrT5K1Gbcz9sHY"}


def test_no_more_messages_are_kept_than_the_limit(monkeypatch):
    monkeypatch.setattr(mail_sources, "MAX_QUEUE_IDS", 10)
    lines = "".join(
        f"May  6 09:10:10 mx postfix/cleanup[2]: {n:06X}: message-id=<{n}@x>\n" for n in range(50)
    )
    _, log = postfix_events(lines)
    assert len(log._messages) == 10


def test_the_same_log_again_gives_the_same_events():
    first, _ = postfix_events(LOG)
    again, _ = postfix_events(LOG, latest=datetime(2025, 12, 31, tzinfo=UTC))
    assert [e["event_id"] for e in first] == [e["event_id"] for e in again]


def test_an_expired_message_of_very_many_recipients_is_several_records(monkeypatch):
    monkeypatch.setattr(mail_sources, "MAX_EXPIRED_RECIPIENTS", 2)
    head = "May  6 09:10:10 mx postfix/{}[2]: 1A2B3C4D5E: "
    lines = [head.format("cleanup") + "message-id=<m@x>"]
    lines += [
        head.format("error") + f"to=<r{n}@x.example>, relay=none, dsn=4.4.1, status=deferred (away)"
        for n in range(5)
    ]  # fmt: skip
    lines.append(head.format("qmgr") + "from=<a@b>, status=expired, returned to sender")
    events, _ = postfix_events("\n".join(lines))
    assert [e["recipient"] for e in events if e["kind"] == "bounce"] == [
        f"r{n}@x.example" for n in range(5)
    ]


def test_bytes_that_are_no_text_stay_in_the_record():
    log = PostfixLog(BERLIN)
    line = LOG.splitlines()[6].encode() + b" \xff\xe9"
    (record,) = (record for text in log_lines([line]) for record in log.records(text, NOW))
    assert record.value == line


def test_a_return_path_of_its_own_form_is_read_for_a_delivery():
    text = LOG.replace("<office@example.com>, size", "<b-acme-m-7@example.com>, size")
    pattern = r"b-(?P<tenant>[^-]+)-(?P<message>[^@]+)@.*"
    events, _ = postfix_events(text, return_path_pattern=pattern)
    assert (events[0]["tenant_id"], events[0]["message_id"]) == ("acme", "m-7")


@pytest.mark.parametrize(
    ("stamp", "latest", "moment"),
    [
        ("May  6 09:10:11", "2025-05-07T12:00:00", "2025-05-06T09:10:11+02:00"),
        ("May  7 20:00:00", "2025-05-07T12:00:00", "2025-05-07T20:00:00+02:00"),  # a clock ahead
        ("May  9 20:00:00", "2025-05-07T12:00:00", "2024-05-09T20:00:00+02:00"),
        ("Dec 31 23:59:59", "2025-01-01T00:00:10", "2024-12-31T23:59:59+01:00"),
        ("Jan  1 00:30:00", "2024-12-31T23:10:00", "2025-01-01T00:30:00+01:00"),
        ("Feb 29 12:00:00", "2025-05-07T12:00:00", "2024-02-29T12:00:00+01:00"),
        ("Feb 29 12:00:00", "2103-05-07T12:00:00", "2096-02-29T12:00:00+01:00"),
        ("Feb 30 12:00:00", "2025-05-07T12:00:00", None),
        ("2025-05-06T09:10:11Z", "2025-05-07T12:00:00", None),
    ],
)
def test_a_timestamp_without_a_year_is_never_in_the_future(stamp, latest, moment):
    time = stamp_time(stamp, datetime.fromisoformat(latest).replace(tzinfo=UTC), BERLIN)
    assert (time.isoformat() if time else None) == moment


def test_without_a_zone_a_timestamp_is_of_this_machine():
    time = stamp_time("May  6 09:10:11", NOW, None)
    assert time.replace(tzinfo=None) == datetime(2025, 5, 6, 9, 10, 11)
    assert time == time.replace(tzinfo=None).astimezone()
