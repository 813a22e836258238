"""Who looks at a page, and at whose data: a session's key, and the tenant in the address bar."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from projections.queries.api_keys import Key, Scope
from projections.web.auth import NOT_YOURS, Asker, TenantQuery
from projections.web.problems import ProblemError
from projections.web.sessions import COOKIE, Session
from projections.web.state import Parts, parts_of

SIGN_IN = "/sign-in"
TENANTS = "/tenants"


class ElsewhereError(Exception):
    """Not here: `location` is where to go."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Somebody signed in; `tenant` is empty on pages that are about none."""

    session: Session
    key: Key
    tenant: str
    parts: Parts

    @property
    def asker(self) -> Asker:
        """Who asks, as the API has it."""
        return Asker(key=self.key, tenant=self.tenant, parts=self.parts)

    @property
    def chooses(self) -> bool:
        """Tell whether the tenant has to stand in the address bar."""
        return self.key.everywhere or len(self.key.tenants) > 1

    @property
    def operates(self) -> bool:
        """Tell whether dead letters may be seen."""
        return self.key.everywhere and self.may("admin")

    @property
    def token(self) -> str:
        """What a form has to carry."""
        return self.parts.sessions.token(self.session)

    def may(self, scope: Scope) -> bool:
        """Tell whether the key has a scope."""
        return scope in self.key.scopes

    def link(self, path: str, **parameters: object) -> str:
        """Return the address of a page with these parameters, of the same tenant."""
        given = [(name, value) for name, value in parameters.items() if value not in {None, ""}]
        return address(path, [*self.whose(), *given])

    def whose(self) -> list[tuple[str, object]]:
        """Return the parameters that say whose data a page shows."""
        return [("tenant", self.tenant)] if self.chooses and self.tenant else []


def address(path: str, pairs: list[tuple[str, object]]) -> str:
    """Return an address with parameters."""
    return f"{path}?{urlencode(pairs)}" if pairs else path


def session_of(request: Request) -> Session | None:
    """Return the session of a browser, or None."""
    return parts_of(request).sessions.read(request.cookies.get(COOKIE, ""))


async def signed_in(request: Request) -> Viewer:
    """Return who is signed in. Raises `ElsewhereError` for who is not, 429 for who is too fast."""
    parts, session = parts_of(request), session_of(request)
    if session is None or not session.key:
        raise ElsewhereError(address(SIGN_IN, [("next", here(request))]))
    key = await run_in_threadpool(parts.keys.named, session.key)
    if key is None:
        raise ElsewhereError(address(SIGN_IN, [("next", here(request)), ("why", "revoked")]))
    if seconds := parts.limiter.wait(key.id):
        raise ProblemError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "this key asks too often",
            headers={"Retry-After": str(math.ceil(seconds))},
        )
    return Viewer(session=session, key=key, tenant="", parts=parts)


SignedIn = Annotated[Viewer, Depends(signed_in)]


async def viewing(request: Request, viewer: SignedIn, tenant: TenantQuery = None) -> Viewer:
    """Return who looks at a tenant's data. Raises 403 problems, or sends to choose a tenant."""
    require(viewer, "read")
    if not tenant:
        if viewer.chooses:
            raise ElsewhereError(address(TENANTS, [("next", here(request))]))
        tenant = viewer.key.tenants[0]
    if not viewer.key.may_ask(tenant):
        raise ProblemError(HTTPStatus.FORBIDDEN, NOT_YOURS)
    return Viewer(session=viewer.session, key=viewer.key, tenant=tenant, parts=viewer.parts)


async def operating(viewer: SignedIn) -> Viewer:
    """Let an operator pass. Raises a 403 problem for others."""
    if not viewer.operates:
        raise ProblemError(
            HTTPStatus.FORBIDDEN, "only a key with the scope admin, for all tenants, may see this"
        )
    return viewer


def require(viewer: Viewer, scope: Scope) -> None:
    """Raise a 403 problem for a key without a scope."""
    if not viewer.may(scope):
        raise ProblemError(HTTPStatus.FORBIDDEN, f"this key lacks the scope {scope!r}")


def here(request: Request) -> str:
    """Return the address of a request's page, to come back to; of a change, the start page."""
    if request.method != "GET":
        return "/"
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def local(place: str) -> str:
    """Return an address to go on to, if it is one of ours, else the start page."""
    ours = place.startswith("/") and not place.startswith(("//", "/\\"))
    return place if ours and place.isprintable() else "/"


async def form_of(request: Request) -> Mapping[str, str]:
    """Return the fields of a form that was made for this session. Raises 403 for another."""
    body = (await request.body()).decode("ascii", "replace")
    fields = dict(parse_qsl(body, keep_blank_values=True, max_num_fields=50))
    session = session_of(request)
    sessions = parts_of(request).sessions
    if session is None or not sessions.genuine(session, fields.get("token", "")):
        raise ProblemError(
            HTTPStatus.FORBIDDEN, "this form is not of your session; open the page anew"
        )
    return fields


Viewing = Annotated[Viewer, Depends(viewing)]
Operator = Annotated[Viewer, Depends(operating)]
Form = Annotated[Mapping[str, str], Depends(form_of)]
