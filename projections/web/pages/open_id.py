"""Signing in at an OpenID provider: the way there, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from projections.web.open_id import OpenIdSignIn, ProviderAwayError
from projections.web.pages.render import render_page
from projections.web.pages.sign_in import (
    PROVIDER_PATH,
    NextUrlQuery,
    audit_session,
    render_sign_in,
    set_session,
)
from projections.web.pages.url import local_url
from projections.web.people import Person, RefusedBecause, SignInRefusedError
from projections.web.problems import ProblemError
from projections.web.sessions import PENDING_COOKIE, PENDING_SECONDS, PendingSignIn
from projections.web.state import app_state
from schemas.words import Words

router = APIRouter(include_in_schema=False)
#: The cookie of a sign-in that is under way goes nowhere else.
_COOKIE_PATH: Final = "/sign-in"
#: Groups that a page names.
_MAX_SHOWN_GROUPS: Final = 20
#: What a provider answers if somebody did not want to sign in, or may not (RFC 6749, 4.1.2.1).
_CANCELLED: Final = frozenset({"access_denied", "login_required", "interaction_required"})
#: What is wrong, in words of our own: nothing that came by a URL is shown.
_REFUSALS: Final[Mapping[RefusedBecause, str]] = {
    "cancelled": Words("You were not signed in: it was cancelled, or refused where you sign in."),
    "begun_elsewhere": Words(
        "This sign-in was not begun here, or took over ten minutes. Try again."
    ),
    "provider_away": Words(
        "The place where you sign in does not answer now. Try again in a minute."
    ),
    "provider_error": Words("The place where you sign in answered with an error. Try again."),
    "token": Words("What the place where you sign in says of you cannot be believed. Try again."),
    "too_many_groups": Words(
        "You are in too many groups that have a role here. Ask for a group of all."
    ),
}
_STATUSES: Final[Mapping[RefusedBecause, HTTPStatus]] = {
    "provider_away": HTTPStatus.SERVICE_UNAVAILABLE,
    "provider_error": HTTPStatus.BAD_GATEWAY,
    "token": HTTPStatus.BAD_GATEWAY,
}
CodeQuery = Annotated[str, Query(max_length=4096)]
log = structlog.stdlib.get_logger(__name__)


@router.get(PROVIDER_PATH)
async def begin_sign_in(
    request: Request,
    next: NextUrlQuery = "/",  # noqa: A002 the name of the parameter
    *,
    other: bool = False,
) -> Response:
    """Lead a browser to the provider; with `other` it asks for which account."""
    sign_in, state = _sign_in(request), app_state(request)
    pending, cookie = state.sessions.begin_pending(local_url(next))
    to_url = partial(
        sign_in.provider.authorization_url, state=pending.state, nonce=pending.nonce,
        verifier=pending.verifier, chooses_account=other,
    )  # fmt: skip
    try:
        url = await sign_in.ask(to_url)
    except ProviderAwayError:
        return await _refuse(request, SignInRefusedError("provider_away"), next)
    response = RedirectResponse(url, status_code=HTTPStatus.SEE_OTHER)
    response.set_cookie(
        PENDING_COOKIE, cookie, max_age=PENDING_SECONDS, path=_COOKIE_PATH, httponly=True,
        samesite="lax", secure=state.is_https,
    )  # fmt: skip
    return response


@router.get("/sign-in/callback")
async def finish_sign_in(
    request: Request,
    code: CodeQuery = "",
    state: Annotated[str, Query(max_length=256)] = "",
    error: Annotated[str, Query(max_length=4096)] = "",
    iss: Annotated[str, Query(max_length=2048)] = "",
) -> Response:
    """Take the answer of the provider, begin a session, and lead back to where it was asked for."""
    sign_in, sessions = _sign_in(request), app_state(request).sessions
    pending = sessions.read_pending(request.cookies.get(PENDING_COOKIE, ""), state)
    next_url = pending.next_url if pending else "/"
    try:
        person = await _person(sign_in, pending, code=code, error=error, issuer=iss)
        session = sessions.begin_of(person, sign_in.session_seconds)
    except SignInRefusedError as refusal:
        audit_session(request, None, "sign_in")
        response = await _refuse(request, refusal, next_url)
    else:
        audit_session(request, sign_in.people.rights_of(person), "sign_in")
        response = RedirectResponse(next_url, status_code=HTTPStatus.SEE_OTHER)
        set_session(request, response, session)
    response.delete_cookie(
        PENDING_COOKIE, path=_COOKIE_PATH, httponly=True, samesite="lax",
        secure=app_state(request).is_https,
    )  # fmt: skip
    return response


async def _person(
    sign_in: OpenIdSignIn, pending: PendingSignIn | None, *, code: str, error: str, issuer: str
) -> Person:
    """Return who signed in, by the answer of the provider. Raises `SignInRefusedError`."""
    if pending is None:
        raise SignInRefusedError("begun_elsewhere")
    await sign_in.ask(partial(sign_in.provider.check_issuer, issuer))
    if error or not code:
        raise SignInRefusedError("cancelled" if error in _CANCELLED else "provider_error")
    redeem = partial(
        sign_in.provider.redeem, code=code, nonce=pending.nonce, verifier=pending.verifier,
        people=sign_in.people,
    )  # fmt: skip
    return await sign_in.ask(redeem)


def _sign_in(request: Request) -> OpenIdSignIn:
    """Return how to sign in at a provider. Raises a 404 problem if that is not set up."""
    sign_in = app_state(request).open_id
    if sign_in is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "people sign in with keys here")
    return sign_in


async def _refuse(request: Request, refusal: SignInRefusedError, next_url: str) -> Response:
    """Return the page that says why somebody is not signed in, and what to do."""
    log.warning("sign_in_refused", because=refusal.because, details=refusal.details)
    if text := _REFUSALS.get(refusal.because):
        status = _STATUSES.get(refusal.because, HTTPStatus.FORBIDDEN)
        return await render_sign_in(request, next_url, text, status)
    people = _sign_in(request).people
    return render_page(
        "no_role", None, status=HTTPStatus.FORBIDDEN, because=refusal.because,
        groups=refusal.groups[:_MAX_SHOWN_GROUPS], groups_claim=people.groups_claim,
        domains=sorted(people.email_domains), again_url=f"{PROVIDER_PATH}?other=true",
    )  # fmt: skip
