"""The API as an application, put together of what it works with; nothing happens at import."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from projections.queries import api_keys
from projections.web import problems
from projections.web.api import dead_letters, health, logs, statistics, suppressions
from projections.web.database import Reader
from projections.web.middleware import Edge
from projections.web.pages import app as site
from projections.web.pages import errors
from projections.web.rate_limit import Limiter
from projections.web.sessions import Sessions
from projections.web.state import BASE, Parts
from schemas.decisions import Command

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_ABOUT: Final = """
The delivery log of everything a business mails and texts.

Every request carries a key of `sendlog keys create` and is about one tenant: the key's only one, or
`tenant` among several. Times are UTC. Errors are `application/problem+json` (RFC 9457).
"""


def build(
    *,
    connect: Callable[[], Client],
    database: str,
    command: Callable[[Command], None],
    kafka_answers: Callable[[], bool],
    rate: float = 50,
    burst: float = 100,
    query_seconds: float = 30,
    outcome_seconds: float = 10,
    session_secret: bytes = b"",
) -> FastAPI:
    """Return the application. It starts whether ClickHouse and Kafka are there or not.

    `connect` makes a client of ClickHouse and raises as `store.connect` does. `command` publishes a
    command, or raises `NotTakenError`; `kafka_answers` tells whether a broker does. `rate` and
    `burst` are requests a second and at once, of each key; `outcome_seconds` is how long a command
    is waited for. `session_secret` signs the cookies of the pages; without one they are good for
    the life of this process.
    """
    reader = Reader(connect, database, seconds=query_seconds)

    def load() -> list[api_keys.Key]:
        with reader.asking() as client:
            return api_keys.listed(client, database)

    app = FastAPI(
        title="Sendlog", version="1", description=_ABOUT, openapi_url=f"{BASE}/openapi.json",
        docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.parts = Parts(
        reader=reader,
        keys=api_keys.Keys(load),
        limiter=Limiter(rate=rate, burst=burst),
        command=command,
        kafka_answers=kafka_answers,
        outcome_seconds=outcome_seconds,
        sessions=Sessions(session_secret),
    )
    problems.install(app, errors.shown)
    for module in (logs, statistics, suppressions, dead_letters):
        app.include_router(module.router)
    app.include_router(health.router)
    site.install(app)
    app.add_middleware(Edge)
    _document(app)
    return app


def _document(app: FastAPI) -> None:
    """Have every error in the document described as what it is: a problem."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description,
                routes=app.routes,
            )  # fmt: skip
            models = schema["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):
                models.pop(name, None)
            problem = problems.Problem.model_json_schema(
                ref_template="#/components/schemas/{model}"
            )
            models |= problem.pop("$defs")
            models["Problem"] = problem
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
