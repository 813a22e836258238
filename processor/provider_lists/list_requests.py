"""What is asked of a provider to take an address off the lists that it keeps itself.

Nothing is sent here: these are the requests, and what their answers mean. The sources are the
providers' API references.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import quote

from pydantic import BaseModel, Field, SecretStr

from processor.provider_lists.aws_signature import SigningKey, signed_headers
from schemas.resets import RemovalOutcome


class ProviderAccount(BaseModel, extra="forbid"):
    """A tenant's account at a provider, as its API is called."""

    key: SecretStr = Field(description="of its API, that may change its suppression lists")
    url: str = Field(
        "",
        pattern=r"^(https://[^?#\s]+|http://(127\.0\.0\.1|\[::1\]|localhost)[:/][^?#\s]*)?$",
        description="what its API's addresses begin with, of another region; '': the usual one",
    )
    key_id: str = Field("", description="of Amazon SES: of the access key; `key` is its secret")
    region: str = Field("us-east-1", pattern="^[a-z0-9-]+$", description="of Amazon SES")
    domains: tuple[str, ...] = Field((), description="of Mailgun: those that mail is sent from")
    streams: tuple[str, ...] = Field(
        ("outbound",), description="of Postmark: the message streams that mail is sent by"
    )


class ListRequest(NamedTuple):
    """A request that takes an address off one list."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


class Provider(NamedTuple):
    """How a provider is asked.

    `requests` gives those for an account, what its URLs begin with, and an address; `name` is the
    one for people, as in `schemas.resets`.
    """

    name: str
    url: str
    requests: Callable[[ProviderAccount, str, str], Iterator[ListRequest]]


def _sendgrid(account: ProviderAccount, url: str, address: str) -> Iterator[ListRequest]:
    headers = {"Authorization": f"Bearer {account.key.get_secret_value()}"}
    for name in ("bounces", "blocks", "invalid_emails", "spam_reports"):
        yield ListRequest("DELETE", f"{url}/v3/suppression/{name}/{_quoted(address)}", headers)


def _mailgun(account: ProviderAccount, url: str, address: str) -> Iterator[ListRequest]:
    login = b64encode(f"api:{account.key.get_secret_value()}".encode()).decode()
    for domain in account.domains:
        for name in ("bounces", "complaints"):
            path = f"/v3/{_quoted(domain)}/{name}/{_quoted(address)}"
            yield ListRequest("DELETE", url + path, {"Authorization": f"Basic {login}"})


def _postmark(account: ProviderAccount, url: str, address: str) -> Iterator[ListRequest]:
    headers = {
        "X-Postmark-Server-Token": account.key.get_secret_value(),
        "Content-Type": "application/json", "Accept": "application/json",
    }  # fmt: skip
    body = json.dumps({"Suppressions": [{"EmailAddress": address}]}).encode()
    for stream in account.streams:
        path = f"/message-streams/{_quoted(stream)}/suppressions/delete"
        yield ListRequest("POST", url + path, headers, body)


def _sparkpost(account: ProviderAccount, url: str, address: str) -> Iterator[ListRequest]:
    headers = {"Authorization": account.key.get_secret_value()}
    yield ListRequest("DELETE", f"{url}/api/v1/suppression-list/{_quoted(address)}", headers)


def _brevo(account: ProviderAccount, url: str, address: str) -> Iterator[ListRequest]:
    headers = {"api-key": account.key.get_secret_value(), "Accept": "application/json"}
    yield ListRequest("DELETE", f"{url}/v3/smtp/blockedContacts/{_quoted(address)}", headers)


def _ses(account: ProviderAccount, url: str, address: str) -> Iterator[ListRequest]:
    url = f"{url.format(region=account.region)}/v2/email/suppression/addresses/{_quoted(address)}"
    key = SigningKey(account.key_id, account.key.get_secret_value(), account.region, "ses")
    yield ListRequest("DELETE", url, signed_headers("DELETE", url, key, datetime.now(UTC)))


PROVIDERS: Final[Mapping[str, Provider]] = {
    "brevo": Provider("Brevo", "https://api.brevo.com", _brevo),
    "mailgun": Provider("Mailgun", "https://api.mailgun.net", _mailgun),
    "postmark": Provider("Postmark", "https://api.postmarkapp.com", _postmark),
    "sendgrid": Provider("SendGrid", "https://api.sendgrid.com", _sendgrid),
    "ses": Provider("Amazon SES", "https://email.{region}.amazonaws.com", _ses),
    "sparkpost": Provider("SparkPost", "https://api.sparkpost.com", _sparkpost),
}


def requests_of(provider: str, account: ProviderAccount, address: str) -> Iterator[ListRequest]:
    """Yield the requests that take an address off a provider's lists."""
    known = PROVIDERS[provider]
    yield from known.requests(account, (account.url or known.url).rstrip("/"), address)


def outcome_of_answer(status: int, body: bytes) -> tuple[RemovalOutcome, str]:
    """Return what an answer means, and of a failure why, in words."""
    if status == HTTPStatus.NOT_FOUND:
        return "not_listed", ""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return "failed", "it refuses our key, or does not let this entry be removed"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "failed", "it has been asked too often"
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return "failed", f"it answered {status}"
    return _outcome_of_postmark(body)


def _outcome_of_postmark(body: bytes) -> tuple[RemovalOutcome, str]:
    """Return what an answer means that may be a list of outcomes; an empty one says nothing.

    Postmark answers 200 also for what it does not remove: a spam complaint, say.
    """
    try:
        answers = json.loads(body or b"{}")["Suppressions"]
        refused = [each for each in answers if each["Status"] == "Failed"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "removed", ""
    return ("failed", "it does not let this entry be removed") if refused else ("removed", "")


def _quoted(text: str) -> str:
    return quote(text, safe="")
