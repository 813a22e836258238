"""Requests by which providers test an address: answered, but not published.

| provider | request | verified first |
|---|---|---|
| Elastic Email | a GET without a query | yes |
| Event Grid (Azure) | an event with a code to send back; of CloudEvents, an OPTIONS | yes |
| MailerSend | an event `webhook.test`, signed with a public key | no: it says nothing |
| Mailjet | a GET or HEAD when the address is saved | no: it has no content |
| Mandrill | a HEAD, else a POST of no events, signed with a public key | no |
| SNS (SES, AWS SMS, Scaleway) | a subscription to confirm, with the address that does it | yes |
| SparkPost | a batch of one empty event | yes |
| ZeptoMail | a GET or HEAD when the address is saved | no: it has no content |

ZeptoMail also tries a POST, before it has a key: the hook has to be unverified until it is set up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qs

from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from processor.logging import get
from schemas.providers.signatures import without_secret

log = get(__name__)

#: Methods that a provider uses only to test the address.
TEST_METHODS: Final[Mapping[str, frozenset[str]]] = {
    "mailjet": frozenset({"GET", "HEAD"}),
    "mandrill": frozenset({"GET", "HEAD"}),
    "zeptomail": frozenset({"GET", "HEAD"}),
}
#: Providers that can be set up to send a callback as the query of a GET.
QUERY_PROVIDERS: Final = frozenset(
    {"clickatell", "elasticemail", "messagebird", "plivo", "vonage", "smpp"}
)
SNS_PROVIDERS: Final = frozenset({"ses", "aws_sms", "scaleway"})
EVENT_GRID_PROVIDERS: Final = frozenset({"azure", "azure_sms"})
#: The log event for each type of SNS message that has an address to open.
_SUBSCRIPTION_EVENTS: Final = {
    "SubscriptionConfirmation": "sns_subscription_to_confirm",
    "UnsubscribeConfirmation": "sns_unsubscribed",
}
_SUBSCRIBE_URL: Final = re.compile(
    r"https://sns\.(?:[a-z0-9-]+\.amazonaws\.(?:com|com\.cn|eu)|mnq\.[a-z]{2}-[a-z]{3}\.scaleway\.com)"
    r"/\?[!-~]+"
)
_EMPTY_BATCHES: Final[tuple[object, ...]] = ([{"msys": {}}], {"msys": {}})
#: The word of the event by which MailerSend tests an address before it has a secret for it.
_MAILERSEND_TEST: Final = "webhook.test"
MAX_HANDSHAKE_BYTES: Final = 1_000
_VALIDATION_TYPE: Final = "Microsoft.EventGrid.SubscriptionValidationEvent"
#: An event of validation has addresses of several hundred characters.
MAX_VALIDATION_BYTES: Final = 8_192


def allowed_methods(provider: str) -> frozenset[str]:
    """Return the HTTP methods that a provider's webhooks may use."""
    methods = {"POST"} | TEST_METHODS.get(provider, frozenset())
    if provider in QUERY_PROVIDERS:
        methods |= {"GET"}
    if provider in EVENT_GRID_PROVIDERS:
        methods |= {"OPTIONS"}
    return frozenset(methods)


def is_test(provider: str, method: str, body: bytes) -> bool:
    """Tell whether a request only tests the address: it has no content and needs no signature."""
    if method in TEST_METHODS.get(provider, ()):
        return True
    is_test_body = _TEST_BODIES.get(provider)
    return is_test_body is not None and len(body) <= MAX_HANDSHAKE_BYTES and is_test_body(body)


def _is_empty_mandrill_batch(body: bytes) -> bool:
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return list(fields) == ["mandrill_events"] and fields["mandrill_events"][0].strip() == "[]"


def _is_mailersend_test(body: bytes) -> bool:
    event = _json(body)
    return isinstance(event, dict) and event.get("type") == _MAILERSEND_TEST


#: Bodies that only test an address, by provider.
_TEST_BODIES: Final[Mapping[str, Callable[[bytes], bool]]] = {
    "mailersend": _is_mailersend_test,
    "mandrill": _is_empty_mandrill_batch,
}


def handshake_answer(provider: str, tenant: str, request: Request, body: bytes) -> Response | None:
    """Return the answer to a verified request if it is a handshake, else None."""
    if request.method == "OPTIONS":
        return _cloud_events_answer(request.headers)
    if provider in EVENT_GRID_PROVIDERS:
        return _validation_answer(body)
    if provider == "elasticemail" and request.method == "GET":
        return None if without_secret(request.scope["query_string"]) else Response()
    return Response() if _is_handshake(provider, tenant, body) else None


def _cloud_events_answer(headers: Headers) -> Response:
    """Allow the origin to send, as "HTTP 1.1 Web Hooks for Event Delivery" has it."""
    origin = headers.get("webhook-request-origin")
    if not origin:
        return Response()  # an OPTIONS that asks for nothing
    return Response(headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"})


def _validation_answer(body: bytes) -> Response | None:
    """Return the code of Event Grid's "Webhook event delivery", by which it knows an address."""
    if len(body) > MAX_VALIDATION_BYTES or _VALIDATION_TYPE.encode() not in body:
        return None
    match _json(body):
        case [{"eventType": str(word), "data": {"validationCode": str(code)}}]:
            return JSONResponse({"validationResponse": code}) if word == _VALIDATION_TYPE else None
    return None


def _is_handshake(provider: str, tenant: str, body: bytes) -> bool:
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
        subscribe_url=url if _SUBSCRIBE_URL.fullmatch(url) else "not an address of SNS",
    )


def _json(body: bytes) -> object:
    try:
        value: object = from_json(body)
    except ValueError:
        return None
    return value
