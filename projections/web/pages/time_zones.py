"""The page on which people choose the time zone and the language of all pages."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from projections.web.pages.auth import TIME_ZONE_COOKIE, FormFields, SessionCaller
from projections.web.pages.render import render_page
from projections.web.pages.sign_in import NextUrlQuery
from projections.web.pages.times import zone_names
from projections.web.pages.url import local_url
from projections.web.problems import invalid_parameter
from projections.web.state import app_state
from projections.web.translation import LANGUAGE_COOKIE, languages

router = APIRouter(include_in_schema=False)
_COOKIE_SECONDS: Final = 365 * 24 * 3600


@router.get("/time-zone")
async def show_time_zones(
    request: Request,
    caller: SessionCaller,
    next: NextUrlQuery = "/",  # noqa: A002 the name of the parameter
) -> HTMLResponse:
    """Show the time zones and the languages, to choose one."""
    return render_page(
        "time_zones", caller, names=sorted(zone_names()), next_url=local_url(next),
        usual_zone=app_state(request).time_zone, languages=languages(),
    )  # fmt: skip


@router.post("/time-zone")
async def choose(request: Request, _caller: SessionCaller, fields: FormFields) -> RedirectResponse:
    """Keep the choice of a form, a language or a zone, in a cookie, and lead back.

    Raises a 422 problem for a zone that there is not, and a language that the pages are not in.
    """
    language = fields.get("language")
    if language is not None:
        if language not in languages():
            raise invalid_parameter("language", "the pages are not in that language")
        return _keep(request, fields, LANGUAGE_COOKIE, language)
    name = fields.get("zone", "")
    if name not in zone_names():
        raise invalid_parameter("zone", "there is no such time zone")
    return _keep(request, fields, TIME_ZONE_COOKIE, name.replace("/", "|"))


def _keep(request: Request, fields: Mapping[str, str], cookie: str, value: str) -> RedirectResponse:
    """Return the redirect of a form to where it came from, with a choice in a cookie."""
    response = RedirectResponse(
        local_url(fields.get("next", "/")), status_code=HTTPStatus.SEE_OTHER
    )
    response.set_cookie(
        cookie, value, max_age=_COOKIE_SECONDS, samesite="lax", secure=app_state(request).is_https
    )
    return response
