"""Mail by LMTP and SMTP: 250 only when Kafka has it, and only for the addresses of hooks."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from structlog.testing import capture_logs

from processor.gateway import mail
from processor.gateway.hooks import Hook, configured_hooks
from processor.settings import GatewaySettings, SettingsError
from tests.gateway_kafka import Kafka
from tests.mailboxes import mails

LIMIT = 100_000
MAIL = mails()["postfix"].replace(b"\n", b"\r\n")
TO = "bounces+m-postfix@mail.acme.example"


def hook(tenant="acme", *addresses, **more):
    return Hook(**{
        "tenant": tenant, "provider": "reports", "topic": "email.events.reports",
        "secret": SecretStr(""), "verified": True, "tolerance": timedelta(minutes=5),
        "addresses": addresses or ("bounces@mail.acme.example",), **more,
    })  # fmt: skip


@contextmanager
def listening(*hooks, protocol="lmtp", pattern=""):
    """Give the port of a listener in a thread of its own, and the Kafka behind it."""
    kafka, ready = Kafka(), threading.Event()
    by_place = {(each.tenant, each.provider): each for each in hooks or (hook(),)}
    listener = socket.create_server(("127.0.0.1", 0))
    loop, done = asyncio.new_event_loop(), asyncio.Event()

    async def serve():
        handler = mail.MailHandler(mail.hooks_by_address(by_place), kafka, pattern)
        settings = GatewaySettings(mail_protocol=protocol)
        async with mail.mail_listener(listener, handler, settings, LIMIT):
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        assert ready.wait(30)
        yield listener.getsockname()[1], kafka
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
        loop.close()


@contextmanager
def client(port, protocol="lmtp"):
    kind = smtplib.LMTP if protocol == "lmtp" else smtplib.SMTP
    with kind("127.0.0.1", port, timeout=30) as connection:
        yield connection


@pytest.mark.parametrize("protocol", ["lmtp", "smtp"])
def test_a_mail_is_in_kafka_unchanged_with_its_envelope_and_tenant(protocol):
    with listening(protocol=protocol) as (port, kafka), client(port, protocol) as connection:
        assert connection.sendmail("", [TO], MAIL) == {}
        assert connection.sendmail("fbl@isp.example", [TO], b"Subject: x\r\n\r\n.\r\n..\r\n") == {}
    assert [value for _, value, _ in kafka.records] == [MAIL, b"Subject: x\r\n\r\n.\r\n..\r\n"]
    assert {topic for topic, _, _ in kafka.records} == {"email.events.reports"}
    assert kafka.records[0][2] == {
        "smtp-rcpt-to": TO.encode(), "smtp-mail-from": b"<>", "sendlog-tenant": b"acme",
    }  # fmt: skip
    assert kafka.records[1][2]["smtp-mail-from"] == b"fbl@isp.example"


@pytest.mark.parametrize(
    ("address", "tenant"),
    [
        ("bounces@mail.acme.example", "acme"),
        ("Bounces+m-1@MAIL.acme.example", "acme"),
        ("bounces+m-1+a=example.org@mail.acme.example", "acme"),
        ("whatever@rp.other.example", "other"),
    ],
)
def test_the_address_names_the_tenant(address, tenant):
    hooks = (hook(), hook("other", "@rp.other.example"))
    with listening(*hooks) as (port, kafka), client(port) as connection:
        connection.sendmail("", [address], MAIL)
    [(_, _, headers)] = kafka.records
    assert headers["sendlog-tenant"] == tenant.encode()
    assert headers["smtp-rcpt-to"] == address.encode()


def test_of_a_mailbox_that_several_share_the_tenant_is_only_the_default():
    pattern = r"b-(?P<tenant>[^-]+)-(?P<message>[^@]+)@.*"
    shared = hook("agency", "@rp.example", several_tenants=True)
    with listening(shared, pattern=pattern) as (port, kafka), client(port) as connection:
        connection.sendmail("", ["b-acme-m-7@rp.example"], MAIL)
    [(_, _, headers)] = kafka.records
    assert headers["sendlog-default-tenant"] == b"agency"
    assert headers["x-callback-query"] == b"tenant_id=acme&message_id=m-7"
    assert "sendlog-tenant" not in headers


@pytest.mark.parametrize(
    "address", ["ann@mail.acme.example", "bounces@other.example", "bounces-1@mail.acme.example"]
)
def test_any_other_address_is_refused(address):
    with (
        listening() as (port, kafka),
        client(port) as connection,
        pytest.raises(smtplib.SMTPRecipientsRefused) as refused,
    ):
        connection.sendmail("", [address], MAIL)
    assert refused.value.recipients[address][0] == 550
    assert kafka.records == []


def test_what_kafka_did_not_take_comes_again():
    labels = {"provider": "reports", "reason": "broker"}
    before = REGISTRY.get_sample_value("sendlog_hooks_refused_total", labels) or 0
    with listening() as (port, kafka), client(port) as connection:
        kafka.why = "the broker is away"
        with pytest.raises(smtplib.SMTPDataError) as refused:
            connection.sendmail("", [TO], MAIL)
        kafka.why = ""
        connection.sendmail("", [TO], MAIL)
    assert refused.value.smtp_code == 451
    assert len(kafka.records) == 1
    assert REGISTRY.get_sample_value("sendlog_hooks_refused_total", labels) == before + 1


def test_what_nobody_foresaw_comes_again_and_says_nothing():
    with listening() as (port, kafka), client(port) as connection, capture_logs() as logs:
        kafka.records = None
        with pytest.raises(smtplib.SMTPDataError) as refused:
            connection.sendmail("", [TO], MAIL)
    assert (refused.value.smtp_code, refused.value.smtp_error) == (451, b"4.3.0 try again later")
    assert [line["event"] for line in logs] == ["mail_failed"]


def test_a_mail_has_one_recipient_and_the_others_come_again():
    other = "bounces+m-2@mail.acme.example"
    with listening() as (port, kafka), client(port) as connection:
        refused = connection.sendmail("", [TO, other], MAIL)
        assert refused[other][0] == 452
        assert connection.sendmail("", [other], MAIL) == {}
    assert [headers["smtp-rcpt-to"] for _, _, headers in kafka.records] == [
        TO.encode(), other.encode(),
    ]  # fmt: skip


def test_what_is_too_large_is_refused_before_or_after_it_was_sent():
    with listening() as (port, kafka), client(port) as connection:
        connection.ehlo_or_helo_if_needed()
        assert connection.docmd("MAIL", f"FROM:<> SIZE={LIMIT + 1}")[0] == 552
        connection.docmd("MAIL", "FROM:<>")
        connection.docmd("RCPT", f"TO:<{TO}>")
        assert connection.data(b"Subject: x\r\n\r\n" + b"a line\r\n" * (LIMIT // 8))[0] == 552
    assert kafka.records == []


def test_long_lines_are_taken():
    with listening() as (port, kafka), client(port) as connection:
        connection.sendmail("", [TO], b"Subject: x\r\n\r\n" + b"x" * 50_000 + b"\r\n")
    assert len(kafka.records[0][1]) > 50_000


def test_more_connections_than_the_limit_are_sent_away(monkeypatch):
    monkeypatch.setattr(mail, "MAX_CONNECTIONS", 2)
    with listening() as (port, kafka):
        with client(port), client(port), pytest.raises(smtplib.SMTPConnectError) as away:
            smtplib.LMTP("127.0.0.1", port, timeout=30)
        assert away.value.args[0] == 421
        with client(port) as connection:
            connection.sendmail("", [TO], MAIL)
    assert len(kafka.records) == 1


def test_a_connection_that_says_nothing_is_closed(monkeypatch):
    monkeypatch.setattr(mail, "IDLE_TIMEOUT_SECONDS", 0.2)
    with listening() as (port, _), socket.create_connection(("127.0.0.1", port), 30) as silent:
        received = b""
        while data := silent.recv(1_000):
            received += data
        assert received.startswith(b"220 ")


def test_neither_answers_nor_logs_show_an_address(caplog):
    with listening() as (port, kafka), client(port) as connection, capture_logs() as logs:
        connection.sendmail("", [TO], MAIL)
        kafka.why = "the broker is away"
        with pytest.raises(smtplib.SMTPDataError):
            connection.sendmail("", [TO], MAIL)
    shown = [line for line in logs if line["log_level"] != "debug"]
    assert shown
    assert "m-postfix" not in str(shown)


# -------------------------------------------------------------------------- settings


def configured(tmp_path, text, **more):
    path = tmp_path / "secrets.toml"
    path.write_text(text)
    return configured_hooks(GatewaySettings(secrets_file=path, **more))


def test_a_hook_with_addresses_takes_mail_alone_or_webhooks_too(tmp_path):
    hooks = configured(tmp_path, (
        '[acme.reports]\naddresses = ["bounces@acme.example"]\n'
        '[other.reports]\naddresses = ["@other.example"]\nsecret = "a:b"\n'
    ))  # fmt: skip
    assert not hooks["acme", "reports"].takes_webhooks
    assert hooks["other", "reports"].takes_webhooks
    assert set(mail.hooks_by_address(hooks)) == {"bounces@acme.example", "@other.example"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[acme.reports]\naddresses = ["bounces"]', "acme.reports.addresses.0"),
        ('[acme.postal]\nsecret = "x"\naddresses = ["a@b"]', "only reports come by mail"),
        ('[a.reports]\naddresses = ["x@b"]\n[b.reports]\naddresses = ["X@b"]', "the address of a"),
        ('[acme.postal]\nsecret = "x"', "no hook has addresses"),
    ],
)
def test_a_hook_that_cannot_take_mail_is_named(tmp_path, text, problem):
    with pytest.raises(SettingsError, match=problem):
        configured(tmp_path, text, mail_port=2400)


def test_a_pattern_that_cannot_be_used_is_a_wrong_setting():
    with pytest.raises(ValueError, match="has none of the groups"):
        GatewaySettings(verp="bounces@.*")
