"""One webhook: found, read, verified, handed to Kafka, and only then answered with 200."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from processor import metrics
from processor.gateway import handshakes
from processor.gateway.answers import RefusedError, later, problem
from processor.gateway.certificates import CertificateError, Certificates
from processor.gateway.hooks import TENANT, TENANT_RULE, Hook
from processor.gateway.publisher import NotTakenError, Publisher
from processor.logging import get
from schemas.providers import DEFAULT_TENANT_HEADER, TENANT_HEADER, adapters, signatures

log = get(__name__)

#: Headers that an adapter may read; all others end here, those with credentials among them.
PASSED: Final = (
    "content-type",
    "svix-id", "webhook-id",  # Resend
    "x-messagesystems-batch-id",  # SparkPost
    "x-amz-sns-message-type", "x-amz-sns-message-id",  # SES and AWS SMS, raw deliveries too
    "smpp-source-addr", "smpp-source-addr-ton", "smpp-esm-class", "smpp-message-state",
    "smpp-receipted-message-id",
)  # fmt: skip
CALLBACK_QUERY: Final = "x-callback-query"
_BODY_SECONDS: Final = 30.0
#: Amazon SNS, for one, sends Basic credentials only when it is asked for them.
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="sendlog", charset="UTF-8"'}


class Webhooks:
    """Takes the webhooks of the configured hooks."""

    def __init__(
        self,
        *,
        hooks: Mapping[tuple[str, str], Hook],
        publisher: Publisher,
        certificates: Certificates,
        public_url: str,
        max_bytes: int,
    ) -> None:
        self._hooks = hooks
        self._publisher = publisher
        self._certificates = certificates
        self._public_url = public_url.rstrip("/")
        self._max_bytes = max_bytes

    async def take(self, request: Request) -> Response:
        """Answer a webhook."""
        provider = request.path_params["provider"]
        label = provider if provider in adapters() else "unknown"
        try:
            await self._take(request)
        except RefusedError as refused:
            metrics.HOOKS_REFUSED.labels(provider=label, reason=refused.reason).inc()
            log.warning(
                "hook_refused",
                provider=label,
                tenant=request.path_params["tenant"][:128],
                status=int(refused.status),
                reason=refused.reason,
                detail=refused.detail,
            )
            return problem(refused.status, refused.detail, refused.headers)
        except ClientDisconnect:
            metrics.HOOKS_REFUSED.labels(provider=label, reason="disconnected").inc()
            return problem(HTTPStatus.BAD_REQUEST, "the request ended early")
        return Response()

    async def _take(self, request: Request) -> None:
        hook = self._hook(request)
        allowed = handshakes.methods(hook.provider)
        if request.method not in allowed:
            allow = ", ".join(sorted(allowed))
            raise RefusedError(
                HTTPStatus.METHOD_NOT_ALLOWED, "method", f"takes {allow}", {"Allow": allow}
            )
        body = await self._body(request)
        if handshakes.is_test(hook.provider, request.method, body):
            metrics.HANDSHAKES.labels(provider=hook.provider).inc()
            return
        await self._verify(hook, request, body)
        if handshakes.is_handshake(hook.provider, hook.tenant, body):
            metrics.HANDSHAKES.labels(provider=hook.provider).inc()
            return
        query: bytes = request.scope["query_string"]
        headers = [
            (name, given.encode("latin-1"))
            for name in PASSED
            if (given := request.headers.get(name)) is not None
        ]
        tenant_header = DEFAULT_TENANT_HEADER if hook.several_tenants else TENANT_HEADER
        headers.append((tenant_header, hook.tenant.encode()))
        value = query if request.method == "GET" else body
        if query and request.method != "GET":
            headers.append((CALLBACK_QUERY, query))
        try:
            await self._publisher.publish(hook.topic, value, headers)
        except NotTakenError as error:
            raise later("broker", str(error)) from error
        metrics.HOOKS_ACCEPTED.labels(provider=hook.provider).inc()
        log.debug("hook_accepted", provider=hook.provider, tenant=hook.tenant, bytes=len(value))

    def _hook(self, request: Request) -> Hook:
        tenant, provider = request.path_params["tenant"], request.path_params["provider"]
        if not TENANT.fullmatch(tenant):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "tenant", TENANT_RULE)
        if provider not in adapters():
            raise RefusedError(HTTPStatus.NOT_FOUND, "provider", "there is no such provider")
        hook = self._hooks.get((tenant, provider))
        if hook is None:
            raise RefusedError(
                HTTPStatus.NOT_FOUND, "not_configured", "tenant and provider are not configured"
            )
        return hook

    async def _body(self, request: Request) -> bytes:
        """Read the body, and no more of it than is taken."""
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > self._max_bytes:
            raise self._too_large()
        chunks, size = [], len(request.scope["query_string"])
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise self._too_large()
                    chunks.append(chunk)
        except TimeoutError:
            raise RefusedError(
                HTTPStatus.REQUEST_TIMEOUT, "slow", f"not sent within {_BODY_SECONDS:g} s"
            ) from None
        return b"".join(chunks)

    def _too_large(self) -> RefusedError:
        return RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"over {self._max_bytes:,} bytes, the limit SENDLOG_KAFKA__MAX_RECORD_BYTES",
            {"Connection": "close"},
        )

    async def _verify(self, hook: Hook, request: Request, body: bytes) -> None:
        if not hook.verified:
            return
        arrived = signatures.Request(
            method=request.method,
            url=self._url(request),
            headers=dict(request.headers),
            body=body,
        )
        secret = hook.secret.get_secret_value()
        try:
            url = signatures.certificate_needed(hook.provider, arrived, secret)
            signatures.verify(
                hook.provider,
                arrived,
                secret,
                datetime.now(UTC),
                tolerance=hook.tolerance,
                certificates={url: await self._certificates.at(url)} if url else {},
            )
        except signatures.SignatureError as error:
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED, "signature", str(error), _CHALLENGE
            ) from None
        except CertificateError as error:
            raise later("certificate", str(error)) from error

    def _url(self, request: Request) -> str:
        """Return the address as the provider has it, which some signatures cover."""
        start = self._public_url or f"{request.url.scheme}://{request.headers.get('host', '')}"
        path = request.scope["raw_path"].decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        return f"{start}{path}{'?' if query else ''}{query}"
