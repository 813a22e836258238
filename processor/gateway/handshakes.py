"""What providers send to see whether an address is there: answered, and not for Kafka.

| provider | what comes | verified first |
|---|---|---|
| Mailjet | a GET or HEAD when the address is saved | no: it carries nothing |
| Mandrill | a HEAD, else a POST of no events, signed with a key that all know | no |
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

#: Methods by which a provider only tests the address.
TESTS: Final[Mapping[str, frozenset[str]]] = {
    "mailjet": frozenset({"GET", "HEAD"}),
    "mandrill": frozenset({"GET", "HEAD"}),
}
#: Providers whose callbacks come as the query of a GET, if they are set up so.
QUERIES: Final = frozenset({"messagebird", "plivo", "vonage", "smpp"})
SNS: Final = frozenset({"ses", "aws_sms"})
#: What follows a change of a subscription, as the event of the log that shows its address.
_SUBSCRIPTIONS: Final = {
    "SubscriptionConfirmation": "sns_subscription_to_confirm",
    "UnsubscribeConfirmation": "sns_unsubscribed",
}
_SUBSCRIBE_URL: Final = re.compile(r"https://sns\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/\?[!-~]+")
_PINGS: Final[tuple[object, ...]] = ([{"msys": {}}], {"msys": {}})
_PING_BYTES: Final = 200


def methods(provider: str) -> frozenset[str]:
    """Return the methods that a provider's webhooks may have."""
    queries = {"GET"} if provider in QUERIES else set[str]()
    return frozenset({"POST"} | queries | TESTS.get(provider, frozenset()))


def is_test(provider: str, method: str, body: bytes) -> bool:
    """Tell whether a request is a test of the address, which carries nothing and needs no proof."""
    if method in TESTS.get(provider, ()):
        return True
    if provider != "mandrill" or len(body) > _PING_BYTES:
        return False
    sent = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return list(sent) == ["mandrill_events"] and sent["mandrill_events"][0].strip() == "[]"


def is_handshake(provider: str, tenant: str, body: bytes) -> bool:
    """Tell whether a verified request is for us and not for Kafka; show what the operator needs."""
    if provider == "sparkpost":
        return len(body) <= _PING_BYTES and _json(body) in _PINGS
    if provider in SNS and b"Confirmation" in body:
        envelope = _json(body)
        event = _SUBSCRIPTIONS.get(envelope.get("Type", "")) if isinstance(envelope, dict) else None
        if isinstance(envelope, dict) and event:
            _show(event, tenant, provider, envelope)
            return True
    return False


def _show(event: str, tenant: str, provider: str, envelope: Mapping[str, object]) -> None:
    """Log the address that completes or takes back a change; nobody but the operator opens it."""
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
        found: object = from_json(body)
    except ValueError:
        return None
    return found
