"""Authentication of API requests: the key, its rate and scope, and the tenant of the request."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from projections.queries.api_keys import ApiKey
from projections.queries.audit import (
    AuditAction,
    AuditLine,
    AuditObject,
    AuditOutcome,
    AuditVia,
)
from projections.queries.roles import Scope
from projections.queries.search import ENGLISH_WORDS, TypedWords
from projections.web.params import ApiRoute
from projections.web.problems import ProblemError, invalid_parameter
from projections.web.request_work import client_address
from projections.web.state import AppState, app_state
from schemas.addresses import Address, normalise_address
from schemas.events import Channel
from schemas.words import Words

_bearer = HTTPBearer(
    auto_error=False, description="A key of `sendlog keys create`", scheme_name="key"
)
BearerToken = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
TenantQuery = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=512,
        description="Whose data; needed only if the key is for several tenants",
        examples=["acme"],
    ),
]


async def authenticate(request: Request, bearer: BearerToken) -> ApiKey:
    """Return the key of a request. Raises a 401 problem without a valid one, 429 if too often."""
    state = app_state(request)
    if bearer is None:
        raise _unauthorized("a key is needed: Authorization: Bearer sk_…", "")
    key = state.keys.cached(bearer.credentials)
    if key is None:
        key = await state.on_own_threads(state.keys.find, bearer.credentials)
    if key is None:
        raise _unauthorized("this key is unknown or revoked", ', error="invalid_token"')
    await admit(state, key)
    return key


def _unauthorized(detail: str, error: str) -> ProblemError:
    challenge = {"WWW-Authenticate": f'Bearer realm="sendlog"{error}'}
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers=challenge)


AuthenticatedKey = Annotated[ApiKey, Depends(authenticate)]


UTC_ZONE: Final = ZoneInfo("UTC")


class RecordKey(NamedTuple):
    """Which customer record: of a tenant, by its type and id."""

    record_type: str
    record_id: str


class Principal(Protocol):
    """Whose rights a request has: those of an API key, or of a person.

    `tenants` are those that it may access, ("*",) for all; `granted` the scopes that it has in any
    of them. `noun` is how refusals call it.
    """

    @property
    def id(self) -> str: ...  # noqa: D102 described above
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def noun(self) -> str: ...  # noqa: D102
    @property
    def tenants(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def for_all_tenants(self) -> bool: ...  # noqa: D102
    @property
    def granted(self) -> frozenset[Scope]: ...  # noqa: D102
    def granted_in(self, tenant: str) -> frozenset[Scope]: ...  # noqa: D102
    def may_access(self, tenant: str) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose rights a request has, the one tenant that it is about, and the application's state.

    With a `record`, nothing but that customer record may be shown. Days are those of `time_zone`.
    """

    principal: Principal
    tenant: str
    state: AppState
    record: RecordKey | None = None
    time_zone: ZoneInfo = UTC_ZONE

    @property
    def typed_words(self) -> TypedWords:
        """The words that they may type for days and statuses, besides the English ones."""
        return ENGLISH_WORDS

    @property
    def actor(self) -> str:
        """Who changes something, as the history names them."""
        return self.principal.name

    def has_scope(self, scope: Scope) -> bool:
        """Return whether there is a scope in the tenant; without a tenant, in any."""
        return has_scope(self.principal, scope, self.tenant)

    def check_scope(self, scope: Scope) -> None:
        """Raise a 403 problem without a scope."""
        if not self.has_scope(scope):
            raise _missing_scope(self.principal, scope)

    @property
    def via(self) -> AuditVia:
        """How they came."""
        return "api"

    def audit(
        self, action: AuditAction, object_type: AuditObject, object: str, *,  # noqa: A002
        detail: str = "", outcome: AuditOutcome = "done",
    ) -> None:  # fmt: skip
        """Have a line of the audit log written about what they do; returns at once."""
        self.state.audit_trail.add(AuditLine(
            tenant_id=self.tenant, actor=self.actor, key_id=self.principal.id, via=self.via,
            action=action, object_type=object_type, object=object, detail=detail,
            outcome=outcome, client=client_address(),
        ))  # fmt: skip

    def address_of(self, channel: Channel, address: str) -> Address:
        """Return an address of the tenant in the log's form."""
        return Address(self.tenant, channel, normalise_address(channel, address, self.region))

    @property
    def region(self) -> str:
        """The country of the tenant's numbers that name none."""
        return self.state.regions.of(self.tenant)


async def admit(state: AppState, principal: Principal) -> None:
    """Count a request of a key or person, and take a place among theirs.

    Raises a 429 problem if they are over their rate, or have too many under way.
    """
    if seconds := state.rate_limiter.take(principal.id):
        raise ProblemError(
            HTTPStatus.TOO_MANY_REQUESTS,
            Words("%(who)s asks too often", who=principal.noun),
            headers={"Retry-After": str(math.ceil(seconds))},
        )
    await state.key_slots.enter(principal.id)


def has_scope(principal: Principal, scope: Scope, tenant: str = "") -> bool:
    """Return whether somebody has a scope in a tenant; "": in any."""
    return scope in (principal.granted_in(tenant) if tenant else principal.granted)


def check_scope(principal: Principal, scope: Scope, tenant: str = "") -> None:
    """Raise a 403 problem without a scope in a tenant; "": in any."""
    if not has_scope(principal, scope, tenant):
        raise _missing_scope(principal, scope)


def _missing_scope(principal: Principal, scope: Scope) -> ProblemError:
    detail = Words("%(who)s lacks the scope %(scope)r", who=principal.noun, scope=scope)
    return ProblemError(HTTPStatus.FORBIDDEN, detail)


def check_tenant(principal: Principal, tenant: str) -> None:
    """Raise a 403 problem for a tenant that may not be accessed.

    The problem is the same if there is no such tenant, so it does not reveal which there are.
    """
    if not principal.may_access(tenant):
        detail = Words("%(who)s is not for that tenant", who=principal.noun)
        raise ProblemError(HTTPStatus.FORBIDDEN, detail)


def require_scope(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that gives the caller of a request about one tenant.

    It raises 403 problems for a key without the scope or for another tenant, 422 for an unknown
    parameter, and 400 if a key of several tenants does not name one.
    """

    async def require_caller(
        request: Request, key: AuthenticatedKey, tenant: TenantQuery = None
    ) -> Caller:
        check_scope(key, scope)
        refuse_unknown_parameters(request)
        if tenant is None:
            if key.for_all_tenants or len(key.tenants) != 1:
                raise invalid_parameter(
                    "tenant",
                    "this key is for several tenants; say whose data",
                    HTTPStatus.BAD_REQUEST,
                )
            tenant = key.tenants[0]
        check_tenant(key, tenant)
        return Caller(principal=key, tenant=tenant, state=app_state(request))

    return require_caller


async def require_operator(request: Request, key: AuthenticatedKey) -> AppState:
    """Return the state for an operator: scope admin, all tenants. Raises 403 for other keys."""
    check_scope(key, "admin")
    if not key.for_all_tenants:
        raise ProblemError(HTTPStatus.FORBIDDEN, "only a key for all tenants may see this")
    refuse_unknown_parameters(request)
    return app_state(request)


def refuse_unknown_parameters(request: Request) -> None:
    """Raise a 422 problem for an unknown parameter: a misspelt filter would return too much."""
    route = request.scope["route"]
    assert isinstance(route, ApiRoute)
    for name in request.query_params:
        if name not in route.query_parameters:
            names = ", ".join(sorted(route.query_parameters)) or "none"
            detail = f"there is no such parameter; there are: {names}"
            raise invalid_parameter(name[:100], detail)


AdminCaller = Annotated[Caller, Depends(require_scope("admin"))]
ReadCaller = Annotated[Caller, Depends(require_scope("read"))]
ResetCaller = Annotated[Caller, Depends(require_scope("reset"))]
BulkResetCaller = Annotated[Caller, Depends(require_scope("bulk_reset"))]
OperatorState = Annotated[AppState, Depends(require_operator)]
