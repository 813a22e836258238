"""The handler of webhooks: answers 200 only when Kafka has the webhook.

The steps for a request:

1. find its hook, by tenant and provider, and check its method;
2. read its body, up to the limit;
3. answer a test of the address;
4. verify its signature;
5. answer a handshake;
6. publish it, unchanged, and wait for the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from processor import metrics
from processor.gateway import handshakes
from processor.gateway.answers import (
    RefusedError,
    acceptance,
    problem_response,
    temporary_refusal,
)
from processor.gateway.bodies import MAX_HELD_BYTES, BodyBudget, read_body
from processor.gateway.certificates import CertificateError, Certificates
from processor.gateway.decoys import decoy
from processor.gateway.hooks import TENANT_PATTERN, TENANT_RULE, Hook
from processor.gateway.producer import NotPublishedError, WebhookProducer
from processor.gateway.refusals import RefusalCause, Refusals
from processor.gateway.tokens import TokenMemory
from processor.logging import get
from schemas.providers import DEFAULT_TENANT_HEADER, TENANT_HEADER, adapters, signatures

log = get(__name__)

#: Headers that an adapter may read. All others are dropped, because some hold credentials.
PASSED_HEADERS: Final = (
    "content-type",
    "svix-id", "webhook-id",  # Resend
    "x-messagesystems-batch-id",  # SparkPost
    "x-amz-sns-message-type", "x-amz-sns-message-id",  # SES and AWS SMS, raw deliveries too
    "smtp-rcpt-to", "smtp-mail-from",  # the envelope of a mail
    "syslog-time",  # Postfix
    "smpp-source-addr", "smpp-source-addr-ton", "smpp-esm-class", "smpp-message-state",
    "smpp-receipted-message-id",
)  # fmt: skip
CALLBACK_QUERY_HEADER: Final = "x-callback-query"
UNPROVEN_REASON: Final = "signature"
#: The log says why. An answer that did would show how, and whether, a tenant is configured.
UNPROVEN_ANSWER: Final = "this is not shown to be a webhook of the tenant's provider"
#: A larger body is judged on a thread, so that the requests of others go on meanwhile.
MAX_LOOP_BODY_BYTES: Final = 16_384
#: Amazon SNS, for one, sends Basic credentials only after a challenge.
BASIC_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="sendlog", charset="UTF-8"'}


class Webhooks:
    """Takes the webhooks of the configured hooks, by tenant and provider."""

    def __init__(
        self,
        *,
        hooks: Mapping[tuple[str, str], Hook],
        producer: WebhookProducer,
        certificates: Certificates,
        public_url: str,
        max_bytes: int,
        refusals: Refusals | None = None,
    ) -> None:
        self._hooks = hooks
        self._producer = producer
        self._certificates = certificates
        self._public_url = public_url.rstrip("/")
        self._max_bytes = max_bytes
        self._tokens = TokenMemory()
        self._refusals = refusals or Refusals()
        self._bodies = BodyBudget(max(MAX_HELD_BYTES, 16 * max_bytes))

    async def take(self, request: Request) -> Response:
        """Answer a webhook."""
        provider = request.path_params["provider"]
        label = provider if provider in adapters() else "unknown"
        try:
            return await self._take(request)
        except RefusedError as refused:
            tenant = request.path_params["tenant"]
            is_configured = (tenant, provider) in self._hooks
            self._refusals.count(
                RefusalCause(
                    label,
                    tenant if is_configured else "",
                    int(refused.status),
                    refused.reason,
                    refused.detail,
                )
            )
            return problem_response(refused.status, refused.answer, refused.headers)
        except ClientDisconnect:
            metrics.HOOKS_REFUSED_TOTAL.labels(provider=label, reason="disconnected").inc()
            return problem_response(HTTPStatus.BAD_REQUEST, "the request ended early")

    async def _take(self, request: Request) -> Response:
        hook = self._find_hook(request)
        address = request.client.host if request.client else ""
        self._refusals.check(address, _name(request))
        allowed = handshakes.allowed_methods(hook.provider)
        if request.method not in allowed:
            allow = ", ".join(sorted(allowed))
            raise RefusedError(
                HTTPStatus.METHOD_NOT_ALLOWED, "method", f"takes {allow}", {"Allow": allow}
            )
        with self._bodies.hold(address) as held:
            body = await read_body(request, self._max_bytes, held)
            return await self._take_body(hook, request, body, address)

    async def _take_body(self, hook: Hook, request: Request, body: bytes, address: str) -> Response:
        if handshakes.is_test(hook.provider, request.method, body):
            metrics.HOOK_HANDSHAKES_TOTAL.labels(provider=hook.provider).inc()
            return Response()
        try:
            await self._verify(hook, request, body)
        except RefusedError as refused:
            if refused.reason == UNPROVEN_REASON:
                self._refusals.note_unproven(address, _name(request))
            raise
        answer = handshakes.handshake_answer(hook.provider, hook.tenant, request, body)
        if answer is not None:
            metrics.HOOK_HANDSHAKES_TOTAL.labels(provider=hook.provider).inc()
            return answer
        value, headers = _to_record(hook, request, body)
        try:
            await self._producer.publish(hook.topic, value, headers)
        except NotPublishedError as error:
            raise temporary_refusal("broker", str(error)) from error
        metrics.HOOKS_ACCEPTED_TOTAL.labels(provider=hook.provider).inc()
        log.debug("hook_accepted", provider=hook.provider, tenant=hook.tenant, bytes=len(value))
        return acceptance(hook.provider, value, request.headers, datetime.now(UTC))

    def _find_hook(self, request: Request) -> Hook:
        tenant, provider = request.path_params["tenant"], request.path_params["provider"]
        if not TENANT_PATTERN.fullmatch(tenant):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "tenant", TENANT_RULE)
        if provider not in adapters():
            raise RefusedError(HTTPStatus.NOT_FOUND, "provider", "there is no such provider")
        return self._hooks.get((tenant, provider)) or decoy(provider)

    async def _verify(self, hook: Hook, request: Request, body: bytes) -> None:
        if not hook.verified:
            return
        signed_request = signatures.Request(
            method=request.method,
            url=self._public_request_url(request),
            headers=dict(request.headers),
            body=body,
        )
        secret, now = hook.secret.get_secret_value(), datetime.now(UTC)
        run = _run_here if len(body) <= MAX_LOOP_BODY_BYTES else asyncio.to_thread
        try:
            url = await run(signatures.certificate_needed, hook.provider, signed_request, secret)
            certificates = {url: await self._certificates.get(url)} if url else {}
            await run(
                signatures.verify,
                hook.provider,
                signed_request,
                secret,
                now,
                tolerance=hook.tolerance,
                certificates=certificates,
            )
            token = await run(signatures.signed_token, hook.provider, signed_request)
        except signatures.SignatureError as error:
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED,
                UNPROVEN_REASON,
                str(error) if hook.tenant else "tenant and provider are not configured",
                BASIC_CHALLENGE,
                answer=UNPROVEN_ANSWER,
            ) from None
        except CertificateError as error:
            raise temporary_refusal("certificate", str(error)) from error
        if token and not self._tokens.admits(hook.tenant, token, body, now, hook.tolerance):
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED, "replay", "its signature came with another body before"
            )

    def _public_request_url(self, request: Request) -> str:
        """Return the address that the provider called, which some signatures cover."""
        base = self._public_url or f"{request.url.scheme}://{request.headers.get('host', '')}"
        path = request.scope["raw_path"].decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        return f"{base}{path}{'?' if query else ''}{query}"


async def _run_here(function: Callable[..., str | None], *args: object, **named: object) -> Any:
    """Call a function as `asyncio.to_thread` does, without the cost of a thread."""
    return function(*args, **named)


def _name(request: Request) -> str:
    """Return the name of the hook that a request is for, configured or not."""
    return f"{request.path_params['tenant']}/{request.path_params['provider']}"


def _to_record(hook: Hook, request: Request, body: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return the value and the headers of a webhook's record: of a GET, its query is the value."""
    query = signatures.without_secret(request.scope["query_string"])
    headers = [
        (name, value.encode("latin-1"))
        for name in PASSED_HEADERS
        if (value := request.headers.get(name)) is not None
    ]
    tenant_header = DEFAULT_TENANT_HEADER if hook.several_tenants else TENANT_HEADER
    headers.append((tenant_header, hook.tenant.encode()))
    if request.method == "GET":
        return query, headers
    if query:
        headers.append((CALLBACK_QUERY_HEADER, query))
    return body, headers
