"""Authentication of pages: the session's key, the tenant in the URL, and the tokens of forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, quote
from zoneinfo import ZoneInfo

from fastapi import Depends, Request

from projections.queries.audit import AuditVia
from projections.queries.roles import ALL_TENANTS, Scope
from projections.queries.search import TypedWords
from projections.web.auth import (
    Caller,
    Principal,
    TenantQuery,
    admit,
    check_scope,
    check_tenant,
)
from projections.web.pages.typed_words import words_for
from projections.web.pages.url import RedirectError, build_url, return_url
from projections.web.problems import ProblemError
from projections.web.sessions import SESSION_COOKIE, BrowserSession
from projections.web.state import AppState, app_state
from projections.web.translation import current_locale
from schemas.decisions import MAX_REASON_LENGTH
from schemas.words import Words

#: More than any form of a page has.
MAX_FORM_FIELDS = 50
SIGN_IN_PATH = "/sign-in"
TENANTS_PATH = "/tenants"
#: The time zone of a browser, with a bar for a slash; the script of all pages sets it, too.
TIME_ZONE_COOKIE: Final = "sendlog_zone"
#: What some systems list among the zones; ClickHouse knows none of the name.
MACHINE_ZONE: Final = "localtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Pages in a frame of another application: whose pages may have it, and how it looks.

    `accent` is a colour as #rrggbb, or "".
    """

    origins: tuple[str, ...]
    theme: Literal["light", "dark", "auto"] = "auto"
    accent: str = ""

    def parameters(self) -> list[tuple[str, object]]:
        """Return the parameters of its pages by which it looks so."""
        return [("theme", self.theme), *([("accent", self.accent)] if self.accent else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCaller(Caller):
    """Somebody who sees pages; `tenant` is empty on pages without a tenant."""

    frame: Frame | None = None
    #: The URL of the page, to come back to.
    here: str = "/"

    @property
    def via(self) -> AuditVia:
        """How they came."""
        return "page"

    @property
    def typed_words(self) -> TypedWords:
        """The words of all languages; days with slashes are read as this reader writes them."""
        return words_for(current_locale())

    @property
    def chooses_tenant(self) -> bool:
        """Whether URLs must name the tenant, because there are several."""
        return self.principal.for_all_tenants or len(self.principal.tenants) > 1

    @property
    def is_operator(self) -> bool:
        """Whether dead letters may be seen."""
        is_admin = "admin" in self.principal.granted_in(ALL_TENANTS)
        return self.principal.for_all_tenants and is_admin

    @property
    def form_token(self) -> str:
        """The token that forms must carry."""
        raise NotImplementedError

    @property
    def provider_names(self) -> list[str]:
        """The providers from whose own lists we can take an address of the tenant."""
        return self.state.provider_lists.names(self.tenant)

    def place(self, path: str) -> str:
        """Return the path of a page, as this caller has it."""
        return path

    def link(self, path: str, **parameters: object) -> str:
        """Return the URL of a page of the same tenant, without empty parameters."""
        pairs = [(name, value) for name, value in parameters.items() if value not in {None, ""}]
        return build_url(self.place(path), [*self.own_parameters(), *pairs])

    def form_link(self, path: str, **parameters: object) -> str:
        """Return the URL that a form is sent to, as `link` does."""
        return self.link(path, **parameters)

    def address_link(self, address: str) -> str:
        """Return the URL of the messages to an address."""
        return self.link("/addresses", address=address)

    def record_link(self, row: Mapping[str, Any]) -> str:
        """Return the URL of the customer record that a message is about."""
        record_type, record_id = row["record_type"], row["record_id"]
        if not record_type or "/" in record_type:  # no part of a path
            log = "sms" if "text" in row else "email"
            return self.link(f"/logs/{log}", record_type=record_type, record_id=record_id)
        return self.link(f"/records/{quote(record_type, safe='')}/{quote(record_id)}")

    def own_parameters(self) -> list[tuple[str, object]]:
        """Return the parameters by which a URL names the tenant, if it has to."""
        return [("tenant", self.tenant)] if self.chooses_tenant and self.tenant else []


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedInCaller(PageCaller):
    """Somebody with a session."""

    session: BrowserSession

    @property
    def form_token(self) -> str:
        """The token that forms of this session must carry."""
        return self.state.sessions.form_token(self.session)


def read_session(request: Request) -> BrowserSession | None:
    """Return the session of a request's cookie, or None."""
    return app_state(request).sessions.read(request.cookies.get(SESSION_COOKIE, ""))


async def require_session(request: Request) -> SignedInCaller:
    """Return the caller of a session with a valid key, or of a person who has a role.

    Raises a redirect to the sign-in page without one, and a 429 problem over the rate.
    """
    state, session = app_state(request), read_session(request)
    back = ("next", await _url_after_sign_in(request))
    if session is None or not (session.key or session.person):
        raise RedirectError(build_url(SIGN_IN_PATH, [back]))
    if await state.on_own_threads(state.ended_sessions.holds, session.nonce):
        raise RedirectError(build_url(SIGN_IN_PATH, [back]))
    principal = await principal_of(state, session)
    if principal is None:
        why = "no_role" if session.person else "revoked"
        raise RedirectError(build_url(SIGN_IN_PATH, [back, ("why", why)]))
    await admit(state, principal)
    return SignedInCaller(
        session=session, principal=principal, tenant="", state=state,
        time_zone=_time_zone(request), here=return_url(request),
    )  # fmt: skip


async def principal_of(state: AppState, session: BrowserSession) -> Principal | None:
    """Return whose rights a session has by now: its key's, or those of the person's groups."""
    person = session.person
    if person is None:
        return await state.on_own_threads(state.keys.find_by_id, session.key)
    sign_in = state.open_id
    if sign_in is None or sign_in.provider.client.issuer != person.issuer:
        return None
    return sign_in.people.rights_of(person)


def _time_zone(request: Request) -> ZoneInfo:
    """Return the zone that a browser's cookie names, or else the instance's."""
    name = request.cookies.get(TIME_ZONE_COOKIE, "").replace("|", "/")
    try:
        return ZoneInfo("" if name == MACHINE_ZONE else name)
    except (OSError, ValueError, LookupError):
        return ZoneInfo(app_state(request).time_zone)


async def _url_after_sign_in(request: Request) -> str:
    """Return the page to come back to; that of a form about an address, with the reason typed."""
    if request.method == "GET" or not request.url.path.startswith("/blacklist/"):
        return return_url(request)
    typed = (await read_fields(request)).get("reason", "")[:MAX_REASON_LENGTH]
    pairs = [pair for pair in request.query_params.multi_items() if pair[0] != "reason"]
    return build_url(request.url.path, [*pairs, ("reason", typed)] if typed else pairs)


SessionCaller = Annotated[SignedInCaller, Depends(require_session)]


async def require_tenant(
    request: Request, caller: SessionCaller, tenant: TenantQuery = None
) -> PageCaller:
    """Return the caller of a page about a tenant.

    Raises 403 problems without the scope read or for another tenant, and a redirect to the choice
    of a tenant if the URL has to name one.
    """
    return _of_tenant(request, caller, tenant, "read")


def _of_tenant(
    request: Request, caller: SignedInCaller, tenant: str | None, scope: Scope
) -> PageCaller:
    check_scope(caller.principal, scope)
    if not tenant:
        if caller.chooses_tenant:
            raise RedirectError(build_url(TENANTS_PATH, [("next", return_url(request))]))
        tenant = caller.principal.tenants[0]
    check_tenant(caller.principal, tenant)
    check_scope(caller.principal, scope, tenant)
    return replace(caller, tenant=tenant)


async def require_page_admin(
    request: Request, caller: SessionCaller, tenant: TenantQuery = None
) -> PageCaller:
    """Return the caller of a page of a tenant's administrators.

    Raises as `require_tenant` does, but the scope is admin.
    """
    return _of_tenant(request, caller, tenant, "admin")


async def require_page_operator(caller: SessionCaller) -> PageCaller:
    """Return the caller of a page for operators. Raises a 403 problem for others."""
    if not caller.is_operator:
        raise ProblemError(
            HTTPStatus.FORBIDDEN, "only who has the scope admin, for all tenants, may see this"
        )
    return caller


async def read_fields(request: Request) -> Mapping[str, str]:
    """Return the fields of a form, whoever sent it. Raises a 422 problem for too many."""
    body = (await request.body()).decode("ascii", "replace")
    try:
        return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS))
    except ValueError:
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            Words("a form has at most %(most)s fields", most=MAX_FORM_FIELDS),
        ) from None


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form. Raises a 403 problem if its token is not of this session."""
    request.state.fields = fields = await read_fields(request)
    session = read_session(request)
    sessions = app_state(request).sessions
    if session is None or not sessions.is_form_token(session, fields.get("token", "")):
        raise ProblemError(
            HTTPStatus.FORBIDDEN, "this form is not of your session; open the page anew"
        )
    return fields


TenantCaller = Annotated[PageCaller, Depends(require_tenant)]
PageAdmin = Annotated[PageCaller, Depends(require_page_admin)]
OperatorCaller = Annotated[PageCaller, Depends(require_page_operator)]
FormFields = Annotated[Mapping[str, str], Depends(read_form)]
