"""The endpoint of many resets for one reason."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from projections.web.api.models import ListRemoval
from projections.web.api.records import AddressRequest
from projections.web.auth import BulkResetCaller
from projections.web.bulk_resets import (
    MAX_RESET_ADDRESSES,
    ResetFate,
    apply_resets,
    preview_resets,
)
from projections.web.params import ApiRoute
from projections.web.problems import problem_responses
from projections.web.provider_lists import removals_json
from projections.web.state import API_PATH
from schemas.decisions import MAX_REASON_LENGTH, RuleName
from schemas.events import Channel

router = APIRouter(prefix=API_PATH, tags=["suppressions"], route_class=ApiRoute)


class BulkResetRequest(BaseModel):
    """The addresses to reset, and one reason for all; a preview needs none and changes nothing."""

    model_config = ConfigDict(extra="forbid")

    addresses: list[AddressRequest] = Field(min_length=1, max_length=MAX_RESET_ADDRESSES)
    reason: str = Field(default="", max_length=MAX_REASON_LENGTH, examples=["our server was down"])
    preview: bool = Field(default=False, description="Only say what would happen to each")


class ResetOutcome(BaseModel):
    """What becomes of an address in a bulk reset."""

    model_config = ConfigDict(extra="forbid")

    channel: Channel
    address: str = Field(examples=["parent@example.com"])
    outcome: ResetFate = Field(description="pending: Kafka has it, do not ask twice")
    detail: str = Field(description="Why nothing is lifted", examples=["it is not blacklisted"])
    rules: list[RuleName] = Field(description="By which it was blacklisted")
    elsewhere: list[str] = Field(description="What else has to be done, in another place")
    provider_lists: list[ListRemoval] = Field(description="What was done of it by us")
    command_id: str


class BulkReset(BaseModel):
    """What becomes of each address of a bulk reset, in the order asked."""

    model_config = ConfigDict(extra="forbid")

    rows: list[ResetOutcome]


@router.post(
    "/suppressions/resets",
    summary="Lift the listings of many addresses, or say what that would do",
    responses={200: {"model": BulkReset}, **problem_responses()},
)
async def post_suppression_resets(caller: BulkResetCaller, body: BulkResetRequest) -> JSONResponse:
    """Publish a reset for each address that can be reset without a confirmation; wait for them.

    Each row says what became of an address, once for one that comes twice.
    """
    addresses = [caller.address_of(each.channel, each.address) for each in body.addresses]
    if body.preview:
        resets = await run_in_threadpool(preview_resets, caller, addresses)
    else:
        resets = await apply_resets(caller, addresses, body.reason)
    rows = [
        {
            "channel": each.address.channel, "address": each.address.address,
            "outcome": each.fate, "detail": each.detail, "rules": each.rules,
            "elsewhere": each.elsewhere, "provider_lists": removals_json(each.removals),
            "command_id": each.command_id,
        }
        for each in resets
    ]  # fmt: skip
    return JSONResponse({"rows": rows})
