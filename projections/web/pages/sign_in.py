"""Signing in with an API key, signing out, and the choice of a tenant."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from projections.clickhouse.sql import stream
from projections.tables import projections
from projections.web.pages.auth import Form, SignedIn, Viewer, address, local, session_of
from projections.web.pages.render import page
from projections.web.sessions import COOKIE, Session
from projections.web.state import parts_of

router = APIRouter(include_in_schema=False)
_WHY: Final = {"revoked": "Your key was revoked. Sign in with another one."}
#: Tenants that are offered; another one can be typed.
_OFFERED: Final = 500
Next = Annotated[str, Query(max_length=8192)]


@router.get("/sign-in")
async def form(request: Request, next: Next = "/", why: str = "") -> Response:  # noqa: A002
    """Ask for a key."""
    return _asked(request, next, _WHY.get(why, ""))


@router.post("/sign-in")
async def sign_in(request: Request, fields: Form) -> Response:
    """Begin the session of a key."""
    parts, place = parts_of(request), fields.get("next", "/")
    key = await run_in_threadpool(parts.keys.find, fields.get("key", "").strip())
    if key is None:
        return _asked(request, place, "This key is unknown or revoked.",
                      HTTPStatus.UNPROCESSABLE_ENTITY)  # fmt: skip
    reply = RedirectResponse(local(place), status_code=HTTPStatus.SEE_OTHER)
    _keep(request, reply, parts.sessions.begin(key.id))
    return reply


@router.post("/sign-out")
async def sign_out(request: Request, _fields: Form) -> Response:
    """End a session."""
    if session := session_of(request):
        parts_of(request).sessions.end(session)
    reply = RedirectResponse("/sign-in", status_code=HTTPStatus.SEE_OTHER)
    reply.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=_secure(request))
    return reply


@router.get("/tenants")
def tenants(viewer: SignedIn, next: Next = "/overview/email") -> Response:  # noqa: A002
    """Let somebody with a key for several tenants choose whose data to see."""
    offered = list(viewer.key.tenants)
    if viewer.key.everywhere:
        offered = _tenants(viewer)
    path, _, query = local(next).partition("?")
    path = "/overview/email" if path == "/" else path
    pairs = [pair for pair in parse_qsl(query) if pair[0] != "tenant"]
    links = [(each, address(path, [*pairs, ("tenant", each)])) for each in offered]
    return page("tenants", viewer, offered=links, path=path, pairs=pairs)


def _tenants(viewer: Viewer) -> list[str]:
    reader = viewer.parts.reader
    logs = " UNION DISTINCT ".join(
        f"SELECT DISTINCT tenant_id FROM {reader.name}.{log.state_table}"
        for log in projections().values()
    )
    with reader.asking() as client:
        sql = f"SELECT tenant_id FROM ({logs}) ORDER BY tenant_id LIMIT {_OFFERED}"
        return [row["tenant_id"] for row in stream(client, sql, {})]


def _asked(
    request: Request, place: str, wrong: str, status: HTTPStatus = HTTPStatus.OK
) -> Response:
    sessions, session = parts_of(request).sessions, session_of(request)
    fresh = session is None
    session = session or sessions.begin()
    context: dict[str, Any] = {"next": local(place), "wrong": wrong}
    reply = page("sign_in", None, status=status, token=sessions.token(session), **context)
    if fresh:
        _keep(request, reply, session)
    return reply


def _keep(request: Request, reply: Response, session: Session) -> None:
    reply.set_cookie(
        COOKIE, parts_of(request).sessions.written(session),
        max_age=parts_of(request).sessions.lasts,
        httponly=True, samesite="lax", secure=_secure(request),
    )  # fmt: skip


def _secure(request: Request) -> bool:
    """Tell whether the browser speaks https, with us or with a proxy before us."""
    return "https" in {request.url.scheme, request.headers.get("x-forwarded-proto", "")}
