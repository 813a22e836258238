"""The gateway as an ASGI application.

POST /hooks/{tenant}/{provider}   and the other methods that the provider uses
GET /healthz                      200 while the process is alive
GET /readyz                       200 while Kafka takes records, else 503
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from processor.gateway.answers import RETRY_AFTER_HEADER, http_error_response, problem_response
from processor.gateway.certificates import Certificates
from processor.gateway.hooks import Hook
from processor.gateway.mail import MailHandler, hooks_by_address, mail_listener
from processor.gateway.producer import WebhookProducer
from processor.gateway.refusals import REFUSAL_LOG_SECONDS, Refusals
from processor.gateway.webhooks import Webhooks
from processor.kafka.health import watch_broker
from processor.settings import GatewaySettings, KafkaSettings

#: What any provider uses; `handshakes.allowed_methods` has those of each.
HOOK_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST")


def build_gateway(
    kafka: KafkaSettings,
    hooks: Mapping[tuple[str, str], Hook],
    *,
    gateway: GatewaySettings,
    certificates: Certificates | None = None,
    mail_socket: socket.socket | None = None,
) -> Starlette:
    """Return the application for `hooks`, by tenant and provider.

    It connects to Kafka when it starts, and takes mail from a socket that listens, if there is one.
    """
    topics = {hook.topic for hook in hooks.values()}
    producer = WebhookProducer(kafka, topics, timeout=gateway.timeout)
    refusals = Refusals()
    webhooks = Webhooks(
        hooks={place: hook for place, hook in hooks.items() if hook.takes_webhooks},
        producer=producer,
        certificates=certificates or Certificates(),
        public_url=gateway.public_url,
        max_bytes=kafka.max_record_bytes,
        refusals=refusals,
    )

    @asynccontextmanager
    async def connected(_app: Starlette) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(producer.run()),
            asyncio.create_task(watch_broker(kafka)),
            asyncio.create_task(_log_regularly(refusals)),
        ]
        async with AsyncExitStack() as stack:
            if mail_socket is not None:
                handler = MailHandler(hooks_by_address(hooks), producer, gateway.verp)
                await stack.enter_async_context(
                    mail_listener(mail_socket, handler, gateway, kafka.max_record_bytes)
                )
            yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        refusals.flush()

    app = Starlette(
        routes=[
            Route("/hooks/{tenant}/{provider}", webhooks.take, methods=HOOK_METHODS),
            *_health_routes(producer),
        ],
        exception_handlers={HTTPException: http_error_response},
        lifespan=connected,
    )
    # It would send a client on to whatever host it named itself.
    app.router.redirect_slashes = False
    return app


async def _log_regularly(refusals: Refusals) -> None:
    while True:
        await asyncio.sleep(REFUSAL_LOG_SECONDS)
        refusals.flush()


def _health_routes(producer: WebhookProducer) -> list[Route]:
    async def alive(_request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(_request: Request) -> Response:
        if problem := await producer.problem():
            return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, problem, RETRY_AFTER_HEADER)
        return PlainTextResponse("ready\n")

    return [Route("/healthz", alive), Route("/readyz", ready)]
