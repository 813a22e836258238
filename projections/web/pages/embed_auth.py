"""Authentication of frames: the token in the URL or in the form, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from fastapi import Depends, Query, Request

from projections.queries.audit import AuditVia
from projections.queries.roles import Scope
from projections.web.auth import RecordKey, admit, check_scope, check_tenant
from projections.web.embed_tokens import MAX_TOKEN_LENGTH, EmbedClaims, EmbedTokenError
from projections.web.pages.auth import Frame, PageCaller, read_fields
from projections.web.pages.url import build_url
from projections.web.people import MAX_ACTOR_LENGTH
from projections.web.problems import ProblemError
from projections.web.state import app_state
from projections.web.translation import use_language
from schemas.words import Words

EMBED_PATH: Final = "/embed"

ThemeQuery = Annotated[Literal["light", "dark", "auto"], Query()]
AccentQuery = Annotated[str, Query(pattern="^(#[0-9a-fA-F]{6}|)$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedCaller(PageCaller):
    """Somebody in a frame: what their token says, within what its key may do."""

    token: str
    claims: EmbedClaims

    @property
    def actor(self) -> str:
        """The person, and the key by which their application vouches for them."""
        return f"{self.claims.actor} ({self.principal.name})"[:MAX_ACTOR_LENGTH]

    @property
    def via(self) -> AuditVia:
        """How they came."""
        return "embedded"

    @property
    def chooses_tenant(self) -> bool:
        """Never: the token names the tenant."""
        return False

    @property
    def is_operator(self) -> bool:
        """Never."""
        return False

    @property
    def form_token(self) -> str:
        """The token of the frame: no other site has it."""
        return self.token

    def has_scope(self, scope: Scope) -> bool:
        """Return whether the token has a scope; a log that it shows may be exported by its key."""
        if scope == "export":
            return "export" in self.principal.granted_in(self.tenant)
        return scope in self.claims.scopes

    def place(self, path: str) -> str:
        """Return the path of a page in the frame."""
        return f"{EMBED_PATH}{path}"

    def form_link(self, path: str, **parameters: object) -> str:
        """Return the URL that a form is sent to; the form itself has the token."""
        look = self.frame.parameters() if self.frame else []
        return build_url(self.place(path), [*look, *parameters.items()])

    def address_link(self, address: str) -> str:
        """Return the URL of the record's messages to an address."""
        return self.link(f"/logs/{'email' if '@' in address else 'sms'}", recipient=address)

    def start_link(self) -> str:
        """Return the URL of the record's page."""
        assert self.record is not None
        return self.record_link(self.record._asdict())

    def own_parameters(self) -> list[tuple[str, object]]:
        """Return the token, and how the frame looks."""
        return [("token", self.token), *(self.frame.parameters() if self.frame else [])]


async def require_frame(
    request: Request,
    token: Annotated[str, Query(max_length=MAX_TOKEN_LENGTH)],
    theme: ThemeQuery = "auto",
    accent: AccentQuery = "",
) -> EmbedCaller:
    """Return the caller of a frame's page. Raises as `_read_caller` does."""
    return await _read_caller(request, token, theme, accent)


@dataclass(frozen=True, slots=True)
class FrameForm:
    """The fields of a form of a frame, and who sent it."""

    caller: EmbedCaller
    fields: Mapping[str, str]


async def require_frame_form(
    request: Request, theme: ThemeQuery = "auto", accent: AccentQuery = ""
) -> FrameForm:
    """Return a form of a frame, with the token that it carries. Raises as `_read_caller` does."""
    request.state.fields = fields = await read_fields(request)
    return FrameForm(await _read_caller(request, fields.get("token", ""), theme, accent), fields)


async def _read_caller(
    request: Request, token: str, theme: Literal["light", "dark", "auto"], accent: str
) -> EmbedCaller:
    """Return who has a token, and keep their frame in the request's state for its errors.

    Raises problems: 401 for what is no token or has expired, 403 if its key is revoked or may not
    do what the token says, 429 if the key is over its rate.
    """
    state = app_state(request)
    try:
        key_id, claims = state.embed_tokens.read(token)
    except EmbedTokenError as error:
        detail = Words("the token of this frame: %(error)s", error=error.args[0])
        raise ProblemError(HTTPStatus.UNAUTHORIZED, detail) from None
    use_language(claims.locale)
    frame = Frame(origins=tuple(claims.origins), theme=theme, accent=accent)
    request.state.frame = frame
    if state.embed_tokens.has_expired(claims):
        raise ProblemError(HTTPStatus.UNAUTHORIZED, "the token of this frame has expired")
    key = await state.on_own_threads(state.keys.find_by_id, key_id)
    if key is None:
        raise ProblemError(HTTPStatus.FORBIDDEN, "the key of this frame is unknown or revoked")
    await admit(state, key)
    for scope in ("read", *claims.scopes):
        check_scope(key, scope)  # it has the same in all its tenants
    if "read" not in claims.scopes:
        raise ProblemError(HTTPStatus.FORBIDDEN, "the token of this frame lacks the scope 'read'")
    check_tenant(key, claims.tenant)
    return EmbedCaller(
        principal=key, tenant=claims.tenant, state=state, frame=frame, token=token, claims=claims,
        record=RecordKey(claims.record_type, claims.record_id),
        time_zone=ZoneInfo(claims.time_zone),
    )  # fmt: skip


FrameCaller = Annotated[EmbedCaller, Depends(require_frame)]
SentFrameForm = Annotated[FrameForm, Depends(require_frame_form)]
