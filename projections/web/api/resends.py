"""The endpoint that has a message sent again."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from projections.web.api import models
from projections.web.auth import ResetCaller
from projections.web.params import ApiRoute
from projections.web.problems import ProblemError, problem_responses
from projections.web.resends import (
    MAX_IDEMPOTENCY_CHARACTERS,
    MessageResend,
    refusal_of,
    resend_message,
)
from projections.web.row_models import JsonTime
from projections.web.state import API_PATH
from schemas.decisions import NonBlankText
from schemas.events import Channel, iso_milliseconds

router = APIRouter(prefix=API_PATH, tags=["logs"], route_class=ApiRoute)


class ResendRequest(BaseModel):
    """To whom a message is to be sent again, and why."""

    model_config = ConfigDict(extra="forbid")

    channel: Channel
    recipient: str = Field(min_length=1, max_length=320, examples=["parent@example.com"])
    reason: NonBlankText = Field(examples=["they lost it"])
    idempotency_key: str = Field(
        default="", max_length=MAX_IDEMPOTENCY_CHARACTERS,
        description="Your own: two requests about a message with the same one are one",
        examples=["ticket-4711"],
    )  # fmt: skip


class RequestedResend(BaseModel):
    """A message that mailers have been asked to send again."""

    model_config = ConfigDict(extra="forbid")

    command_id: str
    attempt: int = Field(description="The attempt to come", examples=[2])
    requested_at: JsonTime


@router.post(
    "/messages/{message_id:path}/resend",
    summary="Send a message again",
    responses={
        200: {"model": RequestedResend, "description": "The mailer has been asked"},
        202: {"model": models.PendingCommand, "description": "It is on its way; do not ask twice"},
        **problem_responses(404, 409),
    },
)
async def post_resend(
    caller: ResetCaller,
    message_id: Annotated[
        str, Path(min_length=1, max_length=512, description="Its id", examples=["m-2041"])
    ],
    body: ResendRequest,
) -> JSONResponse:
    """Ask for one more attempt at a message in the name of the key; 409 says why there is none."""
    resend = MessageResend(
        channel=body.channel, message_id=message_id, recipient=body.recipient,
        reason=body.reason, idempotency_key=body.idempotency_key,
    )  # fmt: skip
    command_id, outcome = await resend_message(caller, resend)
    if outcome is None:
        detail = "no worker has dealt with it yet; look at the message again, do not ask twice"
        return JSONResponse({"command_id": command_id, "detail": detail}, status_code=202)
    if why := refusal_of(outcome):
        raise ProblemError(HTTPStatus.CONFLICT, why)
    return JSONResponse({
        "command_id": command_id, "attempt": outcome["attempt"],
        "requested_at": iso_milliseconds(outcome["occurred_at"]),
    })  # fmt: skip
