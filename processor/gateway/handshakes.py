"""Requests by which providers test an address: answered, but not published.

| provider | request | verified first |
|---|---|---|
| Mailjet | a GET or HEAD when the address is saved | no: it has no content |
| Mandrill | a HEAD, else a POST of no events, signed with a public key | no |
| SNS (SES, AWS SMS) | a subscription to confirm, with the address that does it | yes |
| SparkPost | a batch of one empty event | yes |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from pydantic_core import from_json

from processor.logging import get

log = get(__name__)

#: Methods that a provider uses only to test the address.
TEST_METHODS: Final[Mapping[str, frozenset[str]]] = {
    "mailjet": frozenset({"GET", "HEAD"}),
    "mandrill": frozenset({"GET", "HEAD"}),
}
#: Providers that can be set up to send a callback as the query of a GET.
QUERY_PROVIDERS: Final = frozenset({"clickatell", "messagebird", "plivo", "vonage", "smpp"})
SNS_PROVIDERS: Final = frozenset({"ses", "aws_sms"})
#: The log event for each type of SNS message that has an address to open.
_SUBSCRIPTION_EVENTS: Final = {
    "SubscriptionConfirmation": "sns_subscription_to_confirm",
    "UnsubscribeConfirmation": "sns_unsubscribed",
}
_SUBSCRIBE_URL: Final = re.compile(r"https://sns\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/\?[!-~]+")
_EMPTY_BATCHES: Final[tuple[object, ...]] = ([{"msys": {}}], {"msys": {}})
MAX_HANDSHAKE_BYTES: Final = 200


def allowed_methods(provider: str) -> frozenset[str]:
    """Return the HTTP methods that a provider's webhooks may use."""
    queries = {"GET"} if provider in QUERY_PROVIDERS else set[str]()
    return frozenset({"POST"} | queries | TEST_METHODS.get(provider, frozenset()))


def is_test(provider: str, method: str, body: bytes) -> bool:
    """Tell whether a request only tests the address: it has no content and needs no signature."""
    if method in TEST_METHODS.get(provider, ()):
        return True
    if provider != "mandrill" or len(body) > MAX_HANDSHAKE_BYTES:
        return False
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return list(fields) == ["mandrill_events"] and fields["mandrill_events"][0].strip() == "[]"


def is_handshake(provider: str, tenant: str, body: bytes) -> bool:
    """Tell whether a verified request is a handshake; log the address that it wants opened."""
    if provider == "sparkpost":
        return len(body) <= MAX_HANDSHAKE_BYTES and _json(body) in _EMPTY_BATCHES
    if provider in SNS_PROVIDERS and b"Confirmation" in body:
        envelope = _json(body)
        if isinstance(envelope, dict) and envelope.get("Type", "") in _SUBSCRIPTION_EVENTS:
            _log_confirmation(_SUBSCRIPTION_EVENTS[envelope["Type"]], tenant, provider, envelope)
            return True
    return False


def _log_confirmation(
    event: str, tenant: str, provider: str, envelope: Mapping[str, object]
) -> None:
    """Log the address that completes or reverts a change; only an operator opens it."""
    url = str(envelope.get("SubscribeURL"))
    log.info(
        event,
        tenant=tenant,
        provider=provider,
        topic_arn=str(envelope.get("TopicArn"))[:300],
        subscribe_url=url if _SUBSCRIBE_URL.fullmatch(url) else "not an address of Amazon SNS",
    )


def _json(body: bytes) -> object:
    try:
        value: object = from_json(body)
    except ValueError:
        return None
    return value
