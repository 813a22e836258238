"""The pages to sign in with an API key, to sign out, and to choose a tenant."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from projections.clickhouse.sql import stream
from projections.tables import projections
from projections.web.database import ReadOnlyDatabase
from projections.web.pages.auth import FormFields, SessionCaller, read_session
from projections.web.pages.render import render_page
from projections.web.pages.url import build_url, local_url
from projections.web.sessions import SESSION_COOKIE, BrowserSession
from projections.web.state import app_state

router = APIRouter(include_in_schema=False)
_ERRORS: Final = {"revoked": "Your key was revoked. Sign in with another one."}
#: With more tenants the others can be typed.
MAX_OFFERED_TENANTS: Final = 500
_DEFAULT_PATH: Final = "/overview/email"
NextUrlQuery = Annotated[str, Query(max_length=8192)]


@router.get("/sign-in")
async def show_sign_in(request: Request, next: NextUrlQuery = "/", why: str = "") -> Response:  # noqa: A002
    """Show the form for a key."""
    return _render_sign_in(request, next, _ERRORS.get(why, ""))


@router.post("/sign-in")
async def sign_in(request: Request, fields: FormFields) -> Response:
    """Begin the session of a key."""
    state, next_url = app_state(request), fields.get("next", "/")
    key = await state.on_own_threads(state.keys.find, fields.get("key", "").strip())
    if key is None:
        return _render_sign_in(request, next_url, "This key is unknown or revoked.",
                               HTTPStatus.UNPROCESSABLE_ENTITY)  # fmt: skip
    response = RedirectResponse(local_url(next_url), status_code=HTTPStatus.SEE_OTHER)
    _set_cookie(request, response, state.sessions.begin(key.id))
    return response


@router.post("/sign-out")
async def sign_out(request: Request, _fields: FormFields) -> Response:
    """End a session, in this process at once and in all others within a few seconds."""
    state = app_state(request)
    if session := read_session(request):
        state.sessions.end(session)
        await state.on_own_threads(state.keep_session_end, session)
    response = RedirectResponse("/sign-in", status_code=HTTPStatus.SEE_OTHER)
    response.delete_cookie(
        SESSION_COOKIE, httponly=True, samesite="lax", secure=app_state(request).is_https
    )
    return response


@router.get("/tenants")
def show_tenants(caller: SessionCaller, next: NextUrlQuery = _DEFAULT_PATH) -> Response:  # noqa: A002
    """Show the tenants of a key, each with the page to come back to."""
    tenants = list(caller.principal.tenants)
    if caller.principal.for_all_tenants:
        tenants = _tenants_with_messages(caller.state.database)
    path, _, query = local_url(next).partition("?")
    path = _DEFAULT_PATH if path == "/" else path
    pairs = [pair for pair in parse_qsl(query) if pair[0] != "tenant"]
    links = [(tenant, build_url(path, [*pairs, ("tenant", tenant)])) for tenant in tenants]
    return render_page("tenants", caller, links=links, path=path, pairs=pairs)


def _tenants_with_messages(database: ReadOnlyDatabase) -> list[str]:
    logs = " UNION DISTINCT ".join(
        f"SELECT DISTINCT tenant_id FROM {database.name}.{log.state_table}"
        for log in projections().values()
    )
    with database.client() as client:
        sql = f"SELECT tenant_id FROM ({logs}) ORDER BY tenant_id LIMIT {MAX_OFFERED_TENANTS}"
        return [row["tenant_id"] for row in stream(client, sql, {})]


def _render_sign_in(
    request: Request, next_url: str, error: str, status: HTTPStatus = HTTPStatus.OK
) -> Response:
    sessions, session = app_state(request).sessions, read_session(request)
    is_new = session is None
    session = session or sessions.begin()
    response = render_page(
        "sign_in", None, status=status, token=sessions.form_token(session),
        next_url=local_url(next_url), error=error,
    )  # fmt: skip
    if is_new:
        _set_cookie(request, response, session)
    return response


def _set_cookie(request: Request, response: Response, session: BrowserSession) -> None:
    sessions = app_state(request).sessions
    response.set_cookie(
        SESSION_COOKIE, sessions.to_cookie(session), max_age=sessions.lifetime_seconds,
        httponly=True, samesite="lax", secure=app_state(request).is_https,
    )  # fmt: skip
