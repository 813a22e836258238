"""The gateway as an ASGI application.

POST /hooks/{tenant}/{provider}   GET as well where a provider's callbacks come as a query
GET /healthz                      200 while the process is alive
GET /readyz                       200 while Kafka takes records, else 503
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from processor.gateway.answers import RETRY_AFTER, http_error, problem
from processor.gateway.certificates import Certificates
from processor.gateway.hooks import Hook
from processor.gateway.publisher import Publisher
from processor.gateway.webhooks import Webhooks
from processor.kafka.health import watch_broker
from processor.settings import Kafka


def build(
    kafka: Kafka,
    hooks: Mapping[tuple[str, str], Hook],
    *,
    public_url: str,
    timeout: float,
    certificates: Certificates | None = None,
) -> Starlette:
    """Return the application; it connects to Kafka when it is started."""
    publisher = Publisher(kafka, {hook.topic for hook in hooks.values()}, timeout=timeout)
    webhooks = Webhooks(
        hooks=hooks,
        publisher=publisher,
        certificates=certificates or Certificates(),
        public_url=public_url,
        max_bytes=kafka.max_record_bytes,
    )

    async def alive(_request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(_request: Request) -> Response:
        why = await publisher.problem()
        if why:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, why, RETRY_AFTER)
        return PlainTextResponse("ready\n")

    @asynccontextmanager
    async def connected(_app: Starlette) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(publisher.run()),
            asyncio.create_task(watch_broker(kafka.bootstrap)),
        ]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    return Starlette(
        routes=[
            Route("/hooks/{tenant}/{provider}", webhooks.take, methods=["GET", "HEAD", "POST"]),
            Route("/healthz", alive),
            Route("/readyz", ready),
        ],
        exception_handlers={HTTPException: http_error},
        lifespan=connected,
    )
