"""The pages to sign in with an API key, to sign out, and to choose a tenant.

Signing in at a provider is `pages/open_id.py`.
"""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from projections.clickhouse.sql import stream
from projections.queries.audit import AuditLine
from projections.queries.roles import ALL_TENANTS
from projections.tables import projections
from projections.web.auth import Principal
from projections.web.database import ReadOnlyDatabase
from projections.web.pages.auth import FormFields, SessionCaller, principal_of, read_session
from projections.web.pages.render import render_page
from projections.web.pages.url import build_url, local_url
from projections.web.problems import ProblemError
from projections.web.request_work import client_address
from projections.web.sessions import SESSION_COOKIE, BrowserSession
from projections.web.state import app_state
from schemas.words import Words

router = APIRouter(include_in_schema=False)
_ERRORS: Final = {
    "revoked": Words("Your key was revoked. Sign in with another one."),
    "no_role": Words("You have no role here any more. Sign in again, or ask whoever runs Sendlog."),
}
#: With more tenants the others can be typed.
MAX_OFFERED_TENANTS: Final = 500
_DEFAULT_PATH: Final = "/overview/email"
#: Where signing in at a provider begins.
PROVIDER_PATH: Final = "/sign-in/provider"
NextUrlQuery = Annotated[str, Query(max_length=8192)]


@router.get("/sign-in")
async def show_sign_in(request: Request, next: NextUrlQuery = "/", why: str = "") -> Response:  # noqa: A002
    """Show the form for a key."""
    return await render_sign_in(request, next, _ERRORS.get(why, ""))


@router.post("/sign-in")
async def sign_in(request: Request, fields: FormFields) -> Response:
    """Begin the session of a key."""
    state, next_url = app_state(request), fields.get("next", "/")
    key = await state.on_own_threads(state.keys.find, fields.get("key", "").strip())
    if key is None:
        audit_session(request, None, "sign_in")
        return await render_sign_in(request, next_url, Words("This key is unknown or revoked."),
                                    HTTPStatus.UNPROCESSABLE_ENTITY)  # fmt: skip
    audit_session(request, key, "sign_in")
    response = RedirectResponse(local_url(next_url), status_code=HTTPStatus.SEE_OTHER)
    set_session(request, response, state.sessions.begin(key.id))
    return response


@router.post("/sign-out")
async def sign_out(request: Request, _fields: FormFields) -> Response:
    """End a session, in this process at once and in all others within a few seconds.

    A person is led to sign out at the provider, too, if it offers that.
    """
    state, logout_url = app_state(request), ""
    if session := read_session(request):
        state.sessions.end(session)
        await state.on_own_threads(state.keep_session_end, session)
        with suppress(ProblemError):  # it has ended, whether or not ClickHouse is there
            if principal := await principal_of(state, session):
                audit_session(request, principal, "sign_out")
        if session.person and state.open_id:
            logout_url = await state.open_id.logout_url()
    response: Response = RedirectResponse("/sign-in", status_code=HTTPStatus.SEE_OTHER)
    if logout_url:
        # Not by a redirect: the policy of our pages lets no form lead elsewhere.
        response = render_page("signed_out", None, logout_url=logout_url)
        response.headers["Refresh"] = f"0; url={logout_url}"
    response.delete_cookie(
        SESSION_COOKIE, httponly=True, samesite="lax", secure=app_state(request).is_https
    )
    return response


def audit_session(
    request: Request, principal: Principal | None, action: Literal["sign_in", "sign_out"]
) -> None:
    """Have a line for each tenant of somebody in the audit log; without anybody it was refused."""
    for tenant in principal.tenants if principal else (ALL_TENANTS,):
        app_state(request).audit_trail.add(AuditLine(
            tenant_id=tenant, actor=principal.name if principal else "",
            key_id=principal.id if principal else "",
            via="page", action=action, outcome="done" if principal else "refused",
            client=client_address(),
        ))  # fmt: skip


@router.get("/tenants")
def show_tenants(caller: SessionCaller, next: NextUrlQuery = _DEFAULT_PATH) -> Response:  # noqa: A002
    """Show the tenants of a key or person, each with the page to come back to."""
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


async def render_sign_in(
    request: Request, next_url: str, error: str, status: HTTPStatus = HTTPStatus.OK
) -> Response:
    """Return the page to sign in, with what went wrong before, if anything did."""
    state, session = app_state(request), read_session(request)
    is_new = session is None
    session = session or state.sessions.begin()
    response = render_page(
        "sign_in", None, status=status, token=state.sessions.form_token(session),
        next_url=local_url(next_url), error=error,
        provider_button=state.open_id.button if state.open_id else "",
        provider_url=build_url(PROVIDER_PATH, [("next", local_url(next_url))]),
        is_provider_available=state.open_id is not None and await state.open_id.is_available(),
    )  # fmt: skip
    if is_new:
        set_session(request, response, session)
    return response


def set_session(request: Request, response: Response, session: BrowserSession) -> None:
    """Give a browser the cookie of a session, until it expires."""
    sessions = app_state(request).sessions
    response.set_cookie(
        SESSION_COOKIE, sessions.to_cookie(session), max_age=sessions.seconds_left(session),
        httponly=True, samesite="lax", secure=app_state(request).is_https,
    )  # fmt: skip
