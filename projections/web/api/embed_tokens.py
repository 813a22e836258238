"""The endpoint that makes embed tokens, for hosts that would rather ask than sign."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from projections.web.api import models
from projections.web.auth import ReadCaller
from projections.web.embed_tokens import MAX_TOKEN_SECONDS, EmbedView
from projections.web.params import ApiRoute
from projections.web.problems import problem_responses
from projections.web.state import API_PATH
from schemas.events import iso_milliseconds

router = APIRouter(prefix=API_PATH, tags=["embedding"], route_class=ApiRoute)


class EmbedTokenRequest(EmbedView):
    """What the frame is to show, and for how long."""

    seconds: int = Field(default=300, ge=1, le=MAX_TOKEN_SECONDS, examples=[300])


@router.post(
    "/embed-tokens",
    summary="A token that shows one record in a frame",
    responses={200: {"model": models.EmbedToken}, **problem_responses()},
)
async def post_embed_token(
    request: Request, caller: ReadCaller, body: EmbedTokenRequest
) -> JSONResponse:
    """Return a token of the key for one record of the tenant, and the address of the frame."""
    for scope in body.scopes:
        caller.check_scope(scope)
    view = EmbedView.model_validate(body.model_dump(exclude={"seconds"}))
    token, expires_at = caller.state.embed_tokens.issue(
        caller.principal.id, caller.tenant, view, body.seconds
    )
    caller.audit(
        "embed_token", "record", f"{view.record_type}/{view.record_id}",
        detail=f"for {view.actor}: {', '.join(view.scopes)}",
    )  # fmt: skip
    start = caller.state.public_url or str(request.base_url).rstrip("/")
    path = f"/embed/records/{quote(view.record_type, safe='')}/{quote(view.record_id)}"
    url = f"{start}{path}?{urlencode({'token': token})}"
    expires = iso_milliseconds(datetime.fromtimestamp(expires_at, UTC))
    return JSONResponse({"token": token, "expires_at": expires, "url": url})
