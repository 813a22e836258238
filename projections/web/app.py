"""The composition root of the API and the pages; importing it has no side effects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from anyio import to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from projections.clickhouse.client import ClassifiedError
from projections.queries.api_keys import ApiKey, KeyCache, list_keys
from projections.queries.ended_sessions import (
    EndedSessions,
    list_ended_sessions,
    store_ended_session,
)
from projections.queries.saved_views import SavedView, ViewOwner, store_view
from projections.web.answers import ApiHeaders, HeadRequests, SelectiveCompression
from projections.web.api import (
    audit,
    bulk_resets,
    dead_letters,
    embed_tokens,
    health,
    logs,
    records,
    resends,
    statistics,
    suppressions,
    unmatched,
)
from projections.web.audit_trail import AuditTrail
from projections.web.database import ReadOnlyDatabase
from projections.web.embed_tokens import EmbedTokens
from projections.web.middleware import SecurityHeaders
from projections.web.open_id import OpenIdSignIn
from projections.web.pages.app import install_pages
from projections.web.pages.errors import render_error
from projections.web.problems import Problem, install_error_handlers, unavailable
from projections.web.rate_limit import RateLimiter
from projections.web.readiness import Readiness
from projections.web.request_work import AbandonedRequests
from projections.web.sessions import BrowserSession, Sessions
from projections.web.state import (
    API_PATH,
    PROGRAM_PATHS,
    AppState,
    NoProviderLists,
    ProviderLists,
)
from projections.web.translation import ReaderLanguage
from schemas.addresses import NumberRegions
from schemas.decisions import Command

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: To read the keys, which are few.
KEY_QUERY_SECONDS: Final = 5
log = structlog.stdlib.get_logger(__name__)
_DESCRIPTION: Final = """
The delivery log of everything a business mails and texts.

Every request carries a key of `sendlog keys create` and is about one tenant: the key's only one, or
`tenant` among several. Times are UTC. Errors are `application/problem+json` (RFC 9457).

`RateLimit` and `RateLimit-Policy` say what a key has left of its rate; over it the answer is 429
with `Retry-After`. Answers of GET have an `ETag`, and are 304 for an `If-None-Match` that has it;
every GET may be a HEAD, but for exports. Answers are compressed with gzip for those that accept it.
"""
_TAGS: Final = [
    {"name": name, "description": description}
    for name, description in {
        "logs": "The Email Log and the SMS Log, and what became of one message",
        "records": "Customer records, and how addresses stand",
        "embedding": "Tokens that show the page of one record in another application",
        "statistics": "Counts of messages, and those without news",
        "suppressions": "The blacklist, and changes of it",
        "unmatched": "Events that fit no message",
        "audit": "Who looked at, exported or changed what; for administrators",
        "dead letters": "Records that could not be read; for operators",
        "health": "Whether the process is alive and ready",
    }.items()
]


def build_api(
    *,
    connect: Callable[[], Client],
    database: str,
    regions: NumberRegions | None = None,
    publish_command: Callable[[Command], None],
    kafka_answers: Callable[[], bool],
    rate: float = 50,
    burst: float = 100,
    query_seconds: float = 30,
    outcome_seconds: float = 10,
    session_secret: bytes = b"",
    is_https: bool = False,
    embed_secret: bytes = b"",
    public_url: str = "",
    time_zone: str = "UTC",
    provider_lists: ProviderLists | None = None,
    open_id: OpenIdSignIn | None = None,
    report_audit: Callable[[int, int, int], None] = lambda *_: None,
) -> FastAPI:
    """Return the application. ClickHouse and Kafka need not be available when it starts.

    `regions` are the countries of numbers that name none.
    `connect` makes a client of ClickHouse and raises as `clickhouse.client.connect` does.
    `publish_command`, `kafka_answers`, `outcome_seconds`, `is_https`, `public_url`, `time_zone`,
    `provider_lists` and `open_id` are described at `AppState`. Each key may make `rate` requests a
    second, and `burst` at once. A query may take `query_seconds`. `session_secret` signs the
    cookies of the pages, and of `embed_secret` the embed secrets of keys are made; without one they
    are valid until this process ends. `report_audit` is described at `AuditTrail`.
    """
    connection = ReadOnlyDatabase(connect, database, seconds=query_seconds)
    # Whoever has a key is not kept out by the queries of others.
    key_connection = ReadOnlyDatabase(connect, database, seconds=KEY_QUERY_SECONDS)

    def load_keys() -> list[ApiKey]:
        with key_connection.client() as client:
            return list_keys(client, database)

    def load_ended_sessions() -> frozenset[str]:
        with key_connection.client() as client:
            return list_ended_sessions(client, database)

    def keep_session_end(session: BrowserSession) -> None:
        expires_at = datetime.fromtimestamp(session.expires_at, UTC)
        try:
            with closing(connect()) as client:
                store_ended_session(client, database, session.nonce, expires_at)
        except ClassifiedError as error:
            # It has ended in this process; in others, and after a restart, its cookie is good.
            log.warning("session_end_not_kept", error=str(error))

    trail = AuditTrail(connect, database, report=report_audit)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await to_thread.run_sync(trail.close)

    def keep_view(owner: ViewOwner, view: SavedView) -> None:
        try:
            with closing(connect()) as client:
                store_view(client, database, owner, view)
        except ClassifiedError as error:
            log.warning("view_not_stored", error=str(error))
            raise unavailable("the database did not take the view") from error

    app = FastAPI(
        title="Sendlog", version="1", description=_DESCRIPTION,
        openapi_url=f"{API_PATH}/openapi.json", docs_url=None, redoc_url=None,
        redirect_slashes=False, lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )  # fmt: skip
    app.state.app_state = AppState(
        database=connection,
        regions=regions or NumberRegions(),
        keys=KeyCache(load_keys),
        rate_limiter=RateLimiter(rate=rate, burst=burst),
        publish_command=publish_command,
        ended_sessions=EndedSessions(load_ended_sessions),
        keep_session_end=keep_session_end,
        audit_trail=trail,
        store_view=keep_view,
        readiness=Readiness(key_connection.unavailable_reason, kafka_answers),
        outcome_seconds=outcome_seconds,
        sessions=Sessions(session_secret),
        is_https=is_https,
        embed_tokens=EmbedTokens(embed_secret),
        public_url=public_url.rstrip("/"),
        time_zone=time_zone,
        provider_lists=provider_lists or NoProviderLists(),
        open_id=open_id,
    )
    install_error_handlers(app, render_error)
    for module in (
        logs,
        records,
        resends,
        embed_tokens,
        statistics,
        bulk_resets,
        suppressions,
        unmatched,
        dead_letters,
        audit,
        health,
    ):
        app.include_router(module.router)
    install_pages(app)
    app.add_middleware(ApiHeaders, state=app.state.app_state)
    app.add_middleware(SelectiveCompression)
    app.add_middleware(HeadRequests)
    app.add_middleware(ReaderLanguage, programs=PROGRAM_PATHS)
    app.add_middleware(AbandonedRequests, cancel=connection.cancel)
    app.add_middleware(SecurityHeaders)
    _document_problems(app)
    return app


def _document_problems(app: FastAPI) -> None:
    """Replace FastAPI's schemas of errors in the OpenAPI document by that of `Problem`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description,
                routes=app.routes, tags=_TAGS, servers=[{"url": "/"}],
            )  # fmt: skip
            schemas = document["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs")
            schemas["Problem"] = problem
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
