"""Addresses are taken off providers' own lists: what is asked, and what is made of the answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from processor.provider_lists import list_requests
from processor.provider_lists.aws_signature import SigningKey, signed_headers
from processor.provider_lists.list_requests import (
    PROVIDERS,
    ProviderAccount,
    outcome_of_answer,
    requests_of,
)
from processor.provider_lists.removal import ProviderLists, read_accounts
from processor.settings import SettingsError
from schemas.addresses import Address
from schemas.resets import PROVIDER_LISTS

ADDRESS = "jo+a/b@example.com"
QUOTED = "jo%2Ba%2Fb%40example.com"
HMAC = "AWS4-HMAC-SHA256"
SIGNED = "Credential=AKID/20261130/eu-west-1/ses/aws4_request, SignedHeaders=host;x-amz-date"
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


class FakeProvider:
    """An API that answers as it is told, and keeps what it was asked."""

    def __init__(self, answers):
        self.asked, self._answers = [], answers

    def __enter__(self):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                fake.asked.append((self.command, self.path, dict(self.headers), body))
                status, content = fake._answers(self.path)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", content)
                    content = ""
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content.encode())

            do_DELETE = do_POST = do_GET = answer  # noqa: N815 - http.server's names

            def log_message(self, *_):
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"


def header_of(headers, name):
    """Return a header; of Amazon's signature what does not change with the port."""
    return {key.lower(): value for key, value in headers.items()}[name.lower()].partition(
        ", Signature="
    )[0]


def lists_of(url, *providers):
    more = {
        "mailgun": {"domains": ("mail.acme.example", "news.acme.example")},
        "ses": {"key_id": "AKID", "region": "eu-west-1"},
    }
    return ProviderLists({"acme": {
        name: ProviderAccount(key="k-1", url=url, **more.get(name, {})) for name in providers
    }})  # fmt: skip


EXPECTED = {
    "sendgrid": [
        ("DELETE", f"/v3/suppression/{name}/{QUOTED}", "Authorization", "Bearer k-1")
        for name in ("bounces", "blocks", "invalid_emails", "spam_reports")
    ],
    "mailgun": [
        ("DELETE", f"/v3/{domain}/{name}/{QUOTED}", "Authorization", "Basic YXBpOmstMQ==")
        for domain in ("mail.acme.example", "news.acme.example")
        for name in ("bounces", "complaints")
    ],
    "postmark": [
        ("POST", "/message-streams/outbound/suppressions/delete", "X-Postmark-Server-Token", "k-1")
    ],
    "ses": [
        ("DELETE", f"/v2/email/suppression/addresses/{QUOTED}", "Authorization", f"{HMAC} {SIGNED}")
    ],
    "sparkpost": [("DELETE", f"/api/v1/suppression-list/{QUOTED}", "Authorization", "k-1")],
    "brevo": [("DELETE", f"/v3/smtp/blockedContacts/{QUOTED}", "Api-Key", "k-1")],
}  # fmt: skip


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(list_requests, "datetime", SimpleNamespace(now=lambda _zone: NOW))


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_provider_is_asked_for_each_list_that_it_keeps(provider):
    with FakeProvider(lambda _path: (200, "")) as fake:
        [removal] = lists_of(fake.url, provider).remove(Address("acme", "email", ADDRESS))
    assert (removal.provider, removal.outcome) == (PROVIDERS[provider].name, "removed")
    assert [
        (method, path, name, header_of(headers, name))
        for (method, path, headers, _), (*_, name, _) in zip(
            fake.asked, EXPECTED[provider], strict=True
        )
    ] == EXPECTED[provider]
    if provider == "postmark":
        assert json.loads(fake.asked[0][3]) == {"Suppressions": [{"EmailAddress": ADDRESS}]}


def test_each_provider_has_a_name_that_staff_know_and_is_asked_by_tls():
    assert {each.name for each in PROVIDERS.values()} <= set(PROVIDER_LISTS)
    account = ProviderAccount(key="k", domains=("d.example",))
    urls = [each.url for name in PROVIDERS for each in requests_of(name, account, ADDRESS)]
    assert {url.partition(":")[0] for url in urls} == {"https"}
    assert any(url.startswith("https://email.us-east-1.amazonaws.com/v2/") for url in urls)


def test_a_request_to_amazon_is_signed_as_its_own_example():
    key = SigningKey(
        "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service"
    )
    at = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    headers = signed_headers("GET", "https://example.amazonaws.com/", key, at)
    assert headers == {
        "X-Amz-Date": "20150830T123600Z",
        "Authorization": (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            "SignedHeaders=host;x-amz-date, Signature="
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        ),
    }


@pytest.mark.parametrize(
    ("status", "body", "outcome", "words"),
    [
        (204, "", "removed", ""),
        (404, "", "not_listed", ""),
        (401, "", "failed", "refuses our key"),
        (403, "", "failed", "does not let this entry be removed"),
        (429, "", "failed", "too often"),
        (500, "", "failed", "it answered 500"),
        (302, "https://elsewhere.example/", "failed", "it answered 302"),
        (200, '{"Suppressions": [{"Status": "Deleted"}]}', "removed", ""),
        (200, '{"Suppressions": [{"Status": "Failed"}]}', "failed", "not let this entry"),
        (200, "<html>", "removed", ""),
        (200, "[1]", "removed", ""),
    ],
)
def test_an_answer_is_understood(status, body, outcome, words):
    assert outcome_of_answer(status, body.encode())[0] == outcome
    with FakeProvider(lambda _path: (status, body)) as fake, capture_logs() as logs:
        [removal] = lists_of(fake.url, "postmark").remove(Address("acme", "email", ADDRESS))
    assert removal.outcome == outcome
    assert words in removal.detail
    assert len(fake.asked) == 1
    assert "jo" not in str(logs)
    assert "k-1" not in str(logs)


def test_what_one_list_refuses_is_said_whatever_the_others_do():
    def answer(path):
        return (500, "") if "blocks" in path else (404, "")

    with FakeProvider(answer) as fake:
        [removal] = lists_of(fake.url, "sendgrid").remove(Address("acme", "email", ADDRESS))
    assert removal.outcome == "failed"
    with FakeProvider(lambda path: (204, "") if "blocks" in path else (404, "")) as fake:
        [removal] = lists_of(fake.url, "sendgrid").remove(Address("acme", "email", ADDRESS))
    assert removal.outcome == "removed"


def test_a_provider_that_does_not_answer_spares_the_others():
    with FakeProvider(lambda _path: (204, "")) as fake:
        lists = ProviderLists({"acme": {
            "brevo": ProviderAccount(key="k", url="http://127.0.0.1:1"),
            "sparkpost": ProviderAccount(key="k", url=fake.url),
        }})  # fmt: skip
        removals = lists.remove(Address("acme", "email", ADDRESS))
    assert [(each.provider, each.outcome) for each in removals] == [
        ("Brevo", "failed"), ("SparkPost", "removed"),
    ]  # fmt: skip
    assert "does not answer" in removals[0].sentence


@pytest.mark.parametrize(("tenant", "channel"), [("acme", "sms"), ("other", "email")])
def test_neither_numbers_nor_addresses_of_other_tenants_are_asked_about(tenant, channel):
    with FakeProvider(lambda _path: (204, "")) as fake:
        lists = lists_of(fake.url, "brevo")
        assert lists.remove(Address(tenant, channel, "+447700900001")) == []
    assert fake.asked == []
    assert lists.names("acme") == ["Brevo"]
    assert lists.names("other") == []


def test_accounts_are_read_from_a_file(tmp_path):
    file = tmp_path / "accounts.toml"
    file.write_text('[acme.mailgun]\nkey = "k"\ndomains = ["d"]\n[acme.brevo]\nkey = "b"\n')
    accounts = read_accounts(file)
    assert sorted(accounts["acme"]) == ["brevo", "mailgun"]
    assert read_accounts(None) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[acme", "is not TOML"),
        ('[acme.brevo]\nkey = "secret-1"\nurl = "http://example.com"', "acme.brevo.url"),
        ('[acme.brevo]\nkeys = "secret-1"', "acme.brevo.key"),
        ('[acme.gmail]\nkey = "secret-1"', "there are brevo, mailgun"),
        ('[acme.mailgun]\nkey = "secret-1"', "takes its domains"),
        ('[acme.ses]\nkey = "secret-1"', "takes its key_id"),
    ],
)
def test_a_wrong_file_is_explained_without_its_keys(tmp_path, text, words):
    file = tmp_path / "accounts.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_accounts(file)
    assert words in str(caught.value)
    assert "SENDLOG_API__PROVIDER_ACCOUNTS" in str(caught.value)
    assert "secret-1" not in str(caught.value)
