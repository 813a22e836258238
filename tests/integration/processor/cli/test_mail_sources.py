"""What a mailbox, a mail by LMTP and Postfix's log say becomes rows of the messages it is about."""

from __future__ import annotations

import json
import smtplib
import urllib.request

import pytest

from deploy.local.addresses import free_port
from tests.gateway_process import GatewayProcess
from tests.mailboxes import OUTCOMES, REPORTS, UNREADABLE, mails
from tests.system import DATABASE, running, wait_for

TENANT = "harbour"
SENT_AT = "2025-05-05T18:00:00Z"
STATUSES = {"bounce": "Bounce", "complaint": "Delivery", "delivery": "Delivery"}
LOG = """\
2025-05-06T09:10:10+02:00 mx postfix/cleanup[2]: 4ZrT5K1Gbcz9sHX: message-id=<p-1@mail.example>
2025-05-06T09:10:10+02:00 mx postfix/qmgr[3]: 4ZrT5K1Gbcz9sHX: from=<bounces+p-1@mail.example>, size=4, nrcpt=2 (queue active)
2025-05-06T09:10:11+02:00 mx postfix/smtp[4]: 4ZrT5K1Gbcz9sHX: to=<ann@postfix.example>, relay=mx[192.0.2.7]:25, delay=1, dsn=2.0.0, status=sent (250 2.0.0 Ok)
2025-05-06T09:10:12+02:00 mx postfix/smtp[4]: 4ZrT5K1Gbcz9sHX: to=<ben@postfix.example>, relay=mx[192.0.2.7]:25, delay=1, dsn=5.1.1, status=bounced (host mx[192.0.2.7] said: 550 5.1.1 unknown (in reply to RCPT TO command))
2025-05-06T09:10:12+02:00 mx postfix/qmgr[3]: 4ZrT5K1Gbcz9sHX: removed
"""  # noqa: E501 - lines as they are logged
POSTFIX_ROWS = {
    ("p-1", "ann@postfix.example"): "Delivery",
    ("p-1", "ben@postfix.example"): "Bounce",
}
LMTP_MESSAGE = ("l-1", "ann@lmtp.example")


def sent(message_id, recipient):
    return {
        "channel": "email", "kind": "sent", "tenant_id": TENANT, "message_id": message_id,
        "recipient": recipient, "occurred_at": SENT_AT,
    }  # fmt: skip


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("mail")) as system:
        yield system


@pytest.fixture(scope="module")
def port(system):
    """Publish the sends, then what is about them by every way; return the worker's metrics port."""
    messages = {
        (outcome.message_id, outcome.recipient)
        for outcomes in OUTCOMES.values() for outcome in outcomes if outcome.message_id
    } | {*POSTFIX_ROWS, LMTP_MESSAGE}  # fmt: skip
    lines = "\n".join(json.dumps(sent(*message)) for message in sorted(messages))
    assert system.command("publish", "-", input=lines) == f"published {len(messages)} records\n"

    for _ in range(2):  # what comes twice counts once
        done = system.command("publish", "--mailbox", str(REPORTS), "--tenant", TENANT, check=False)
        count = len(mails())
        assert done.stdout == f"read {count} mails, published {count} records\n", done.stderr
        assert (
            "29 reports (1 events name no message), 1 that cannot be read, 3 other" in done.stderr
        )
    log = system.folder / "mail.log"
    log.write_text(LOG)
    expected = "read 5 lines, published 2 records\n"
    assert system.command("publish", "--postfix", str(log), "--tenant", TENANT) == expected
    assert system.command("publish", "--postfix", "-", "--tenant", TENANT, input=LOG) == expected
    deliver(system)

    port = free_port()
    system.worker(SENDLOG_POLICY="false", SENDLOG_METRICS_PORT=str(port))
    system.wait_until_committed()
    return port


def deliver(system):
    """Deliver a bounce by LMTP to the real gateway."""
    mail_port = free_port()
    hooks = {(TENANT, "reports"): {"addresses": ["bounces@mail.harbour.example"]}}
    settings = {"SENDLOG_GATEWAY__MAIL_PORT": str(mail_port)}
    with GatewayProcess(system.broker.bootstrap, system.folder, hooks, **settings) as gateway:
        wait_for(lambda: gateway.status("/readyz") == 200, "the gateway to be ready")
        with smtplib.LMTP("127.0.0.1", mail_port, timeout=60) as client:
            message_id, recipient = LMTP_MESSAGE
            mail = mails()["qmail"].replace(b"finn@qmail.example", recipient.encode())
            mail = mail.replace(b"m-qmail", message_id.encode())
            to = f"bounces+{message_id}@mail.harbour.example"
            assert client.sendmail("", [to], mail) == {}
        assert gateway.counted('sendlog_hooks_accepted_total{provider="reports"}') == 1
        assert recipient not in gateway.log.read_text()


def rows(system):
    return {
        (row["message_id"], row["recipient"]): row
        for row in system.rows(f"SELECT * FROM {DATABASE}.email_log WHERE tenant_id = '{TENANT}'")
    }


@pytest.mark.parametrize("name", [name for name, outcomes in OUTCOMES.items() if outcomes])
def test_a_report_changes_the_row_of_its_message(system, port, name):
    found = rows(system)
    for outcome in OUTCOMES[name]:
        if not outcome.message_id:
            continue
        row = found[outcome.message_id, outcome.recipient]
        assert row["sent_at"] is not None
        status = "Sent" if outcome.bounce_class == "soft" else STATUSES.get(outcome.kind, "Sent")
        assert (name, row["status"]) == (name, status)
        assert (row["complained_at"] is not None) == (outcome.kind == "complaint")
        assert (row["unsubscribed_at"] is not None) == (outcome.kind == "unsubscribe")
        assert row["soft_bounce_count"] == (outcome.bounce_class == "soft")


def test_a_report_makes_no_row_of_another_message(system, port):
    named = {
        (outcome.message_id, outcome.recipient)
        for outcomes in OUTCOMES.values() for outcome in outcomes if outcome.message_id
    }  # fmt: skip
    assert set(rows(system)) == named | {*POSTFIX_ROWS, LMTP_MESSAGE}


def test_a_mail_by_lmtp_and_the_lines_of_a_log_do_the_same(system, port):
    found = rows(system)
    assert found[LMTP_MESSAGE]["status"] == "Bounce"
    assert {place: found[place]["status"] for place in POSTFIX_ROWS} == POSTFIX_ROWS


def test_what_matches_nothing_is_counted_and_what_nobody_can_read_is_a_dead_letter(system, port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        lines = dict(line.rsplit(" ", 1) for line in reply.read().decode().splitlines())
    assert float(lines['sendlog_ignored_records_total{provider="reports"}']) == 6
    unmatched = [float(n) for name, n in lines.items() if "unmatched_events_total{" in name]
    assert sum(unmatched) == 2
    (event,) = system.rows(f"SELECT * FROM {DATABASE}.events FINAL WHERE message_id = ''")
    assert (event["kind"], event["recipient"]) == ("bounce", "eli@nomessage.example")
    letters = system.rows(f"SELECT DISTINCT raw, reason FROM {DATABASE}.dead_letters FINAL")
    assert [letter["raw"].encode() for letter in letters] == [mails()[name] for name in UNREADABLE]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--mailbox", "/no/such/box"], "--mailbox /no/such/box: no such file or folder"),
        (["--postfix", "/no/such/log"], "/no/such/log cannot be read"),
        (["--postfix", "-", "--timezone", "Mars/Olympus"], "--timezone 'Mars/Olympus' is none"),
        (["--postfix", "-", "--mailbox", "x"], "say what to publish"),
        ([], "say what to publish"),
    ],
)
def test_what_cannot_be_published_is_one_line(system, arguments, problem):
    done = system.command("publish", *arguments, check=False, input="")
    assert done.returncode == 1
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1
