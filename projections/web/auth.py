"""Who asks, and about which tenant: keys, their scopes and rates, the wall between tenants."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from projections.queries.api_keys import Key, Scope
from projections.web.problems import ProblemError, Wrong, wrong
from projections.web.state import Parts, parts_of

_bearer = HTTPBearer(
    auto_error=False, description="A key of `sendlog keys create`", scheme_name="key"
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
TenantQuery = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=512,
        description="Whose data; needed only if the key is for several tenants",
        examples=["acme"],
    ),
]
#: One text for what is not there and what is not yours: an answer never says which tenants exist.
NOT_YOURS = "this key is not for that tenant"


async def key_of(request: Request, bearer: Bearer) -> Key:
    """Return the key of a request. Raises a 401 problem without a valid one, 429 if too often."""
    parts = parts_of(request)
    if bearer is None:
        raise _unauthorized("a key is needed: Authorization: Bearer sk_…", "")
    key = parts.keys.known(bearer.credentials)
    if key is None:
        key = await run_in_threadpool(parts.keys.find, bearer.credentials)
    if key is None:
        raise _unauthorized("this key is unknown or revoked", ', error="invalid_token"')
    if seconds := parts.limiter.wait(key.id):
        raise ProblemError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "this key asks too often",
            headers={"Retry-After": str(math.ceil(seconds))},
        )
    return key


def _unauthorized(detail: str, error: str) -> ProblemError:
    challenge = {"WWW-Authenticate": f'Bearer realm="sendlog"{error}'}
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers=challenge)


WithKey = Annotated[Key, Depends(key_of)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """A key and the one tenant that its request is about."""

    key: Key
    tenant: str
    parts: Parts


def scoped(scope: Scope) -> Callable[..., Awaitable[Asker]]:
    """Return the dependency of an endpoint about one tenant's data, for keys of a scope."""

    async def asker(request: Request, key: WithKey, tenant: TenantQuery = None) -> Asker:
        _require(key, scope)
        no_other_parameters(request)
        if tenant is None:
            if key.everywhere or len(key.tenants) != 1:
                detail = "this key is for several tenants; say whose data"
                raise ProblemError(
                    HTTPStatus.BAD_REQUEST,
                    f"tenant: {detail}",
                    errors=[Wrong(parameter="tenant", detail=detail)],
                )
            tenant = key.tenants[0]
        if not key.may_ask(tenant):
            raise ProblemError(HTTPStatus.FORBIDDEN, NOT_YOURS)
        return Asker(key=key, tenant=tenant, parts=parts_of(request))

    return asker


async def operator_of(request: Request, key: WithKey) -> Parts:
    """Let an operator pass: scope admin, all tenants. Raises a 403 problem for others."""
    _require(key, "admin")
    if not key.everywhere:
        raise ProblemError(HTTPStatus.FORBIDDEN, "only a key for all tenants may see this")
    no_other_parameters(request)
    return parts_of(request)


def _require(key: Key, scope: Scope) -> None:
    if scope not in key.scopes:
        raise ProblemError(HTTPStatus.FORBIDDEN, f"this key lacks the scope {scope!r}")


def no_other_parameters(request: Request) -> None:
    """Refuse a parameter that there is not: a filter misspelt would show too much."""
    paths = request.app.openapi()["paths"]
    endpoint = paths[request.scope["route"].path_format][request.method.lower()]
    known = {each["name"] for each in endpoint.get("parameters", ()) if each["in"] == "query"}
    for name in request.query_params:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise wrong(name[:100], f"there is no such parameter; there are: {listed}")


Reading = Annotated[Asker, Depends(scoped("read"))]
Resetting = Annotated[Asker, Depends(scoped("reset"))]
Operating = Annotated[Parts, Depends(operator_of)]
