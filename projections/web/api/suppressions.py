"""The endpoints of the blacklist: entries, their history, and the commands that change them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from projections.queries.suppressions import entry_history, find_entry
from projections.web.api import models
from projections.web.auth import Caller, ReadCaller, ResetCaller
from projections.web.params import AddressPath, ApiRoute, ChannelPath, CursorQuery, LimitQuery
from projections.web.problems import ProblemError, problem_responses
from projections.web.provider_lists import (
    removals_json,
    remove_after_reset,
    remove_at_providers,
)
from projections.web.state import API_PATH
from projections.web.suppression_commands import (
    CommandName,
    apply_command,
    lifted_rules,
)
from projections.web.suppressions import suppressions_page
from schemas.addresses import Address
from schemas.decisions import NonBlankText, RuleName
from schemas.events import Channel
from schemas.resets import ResetTerms

router = APIRouter(prefix=API_PATH, tags=["suppressions"], route_class=ApiRoute)


class AddRequest(BaseModel):
    """The reason why to add an address by hand."""

    model_config = ConfigDict(extra="forbid")

    reason: NonBlankText = Field(examples=["asked for it on the telephone"])


class ResetRequest(BaseModel):
    """The reason why to lift the entry of an address."""

    model_config = ConfigDict(extra="forbid")

    reason: NonBlankText = Field(examples=["mailbox was full, is repaired"])
    confirmed_complaint: bool = Field(
        default=False,
        description="The owner's word; needed where they reported a message as spam, or opted out "
        "of SMS and have sent START",
    )


@router.get(
    "/suppressions",
    summary="Who is blacklisted",
    responses={200: {"model": models.SuppressionPage}, **problem_responses()},
)
def get_suppressions(
    caller: ReadCaller,
    channel: Annotated[
        Channel | None, Query(description="Only of this channel", examples=["email"])
    ] = None,
    rule: Annotated[
        RuleName | None, Query(description="Only where this rule holds", examples=["hard_bounce"])
    ] = None,
    address: Annotated[
        str, Query(max_length=320, description="Part of the address", examples=["@example.com"])
    ] = "",
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> JSONResponse:
    """Return the addresses that are blacklisted now, in order of channel and address."""
    entries, next_cursor = suppressions_page(
        caller, channel=channel, rule=rule, address=address, limit=limit, cursor=cursor
    )
    return JSONResponse({"rows": [_entry_json(entry) for entry in entries], "next": next_cursor})


@router.get(
    "/suppressions/{channel}/{address:path}/history",
    summary="What was done to an address",
    responses={200: {"model": models.SuppressionHistory}, **problem_responses(404)},
)
def get_suppression_history(
    caller: ReadCaller, channel: ChannelPath, address: AddressPath
) -> JSONResponse:
    """Return every change of an address's entry, the oldest first."""
    rows = _history(caller, caller.address_of(channel, address))
    caller.audit("look", "address", caller.address_of(channel, address).address)
    return JSONResponse({"rows": [_change_json(row) for row in rows]})


@router.get(
    "/suppressions/{channel}/{address:path}",
    summary="Is an address blacklisted?",
    responses={200: {"model": models.SuppressionState}, **problem_responses(404)},
)
def get_suppression(caller: ReadCaller, channel: ChannelPath, address: AddressPath) -> JSONResponse:
    """Return whether an address is blacklisted and, if so, why, since when, by which message."""
    of_tenant = caller.address_of(channel, address)
    state = _suppression_state(caller, of_tenant)
    caller.audit("look", "address", of_tenant.address)
    return JSONResponse(state)


_COMMAND_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": models.AppliedCommand, "description": "It took effect"},
    202: {"model": models.PendingCommand, "description": "It is on its way; do not ask twice"},
    **problem_responses(404, 409),
}


@router.post(
    "/suppressions/{channel}/{address:path}/reset",
    summary="Lift the listing of an address",
    responses=_COMMAND_RESPONSES,
)
async def post_suppression_reset(
    caller: ResetCaller, channel: ChannelPath, address: AddressPath, body: ResetRequest
) -> JSONResponse:
    """Publish a reset in the name of the key and wait for it; 409 says why it was refused."""
    return await _apply(
        caller, "reset", caller.address_of(channel, address), body.reason,
        confirmed_complaint=body.confirmed_complaint,
    )  # fmt: skip


@router.post(
    "/suppressions/{channel}/{address:path}/provider-lists",
    summary="Take an address off its providers' own lists",
    responses={200: {"model": models.ListRemovals}, **problem_responses(404)},
)
async def post_provider_lists(
    caller: ResetCaller, channel: ChannelPath, address: AddressPath
) -> JSONResponse:
    """Ask the tenant's providers to take an address off their lists, as a reset does.

    For one that failed then, or of which the outcome came too late. None of them is asked where
    Sendlog has no account.
    """
    removals = await remove_at_providers(caller, caller.address_of(channel, address))
    return JSONResponse({"provider_lists": removals_json(removals)})


@router.post(
    "/suppressions/{channel}/{address:path}/add",
    summary="List an address by hand",
    responses=_COMMAND_RESPONSES,
)
async def post_suppression_add(
    caller: ResetCaller, channel: ChannelPath, address: AddressPath, body: AddRequest
) -> JSONResponse:
    """Publish a command in the name of the key that adds an address, and wait for it."""
    return await _apply(caller, "add", caller.address_of(channel, address), body.reason)


async def _apply(
    caller: Caller,
    command_name: CommandName,
    address: Address,
    reason: str,
    *,
    confirmed_complaint: bool = False,
) -> JSONResponse:
    command_id, row = await apply_command(
        caller, command_name, address, reason, confirmed_complaint=confirmed_complaint
    )
    if row is None:
        detail = "no worker has dealt with it yet; look for it in the history, do not ask twice"
        return JSONResponse({"command_id": command_id, "detail": detail}, status_code=202)
    if row["change"] == "refused":
        raise ProblemError(HTTPStatus.CONFLICT, row["reason"] or "the command was refused")
    state = await run_in_threadpool(_suppression_state, caller, address)
    history = await run_in_threadpool(_history, caller, address)
    lifted = lifted_rules(history, command_id)
    removals = await remove_after_reset(caller, address, lifted)
    return JSONResponse({
        "command_id": command_id, "line": _change_json(row), "now": state,
        "elsewhere": ResetTerms.of(lifted).elsewhere, "provider_lists": removals_json(removals),
    })  # fmt: skip


def _history(caller: Caller, address: Address) -> list[dict[str, Any]]:
    database = caller.state.database
    with database.client() as client:
        return entry_history(client, database.name, address)


def _suppression_state(caller: Caller, address: Address) -> dict[str, Any]:
    database = caller.state.database
    with database.client() as client:
        entry = find_entry(client, database.name, address)
    return {
        "tenant_id": address.tenant_id,
        "channel": address.channel,
        "address": address.address,
        "listed": entry is not None,
        "entry": None if entry is None else _entry_json(entry),
        "refused_since": 0 if entry is None else entry["refused_since"],
    }


def _entry_json(row: dict[str, Any]) -> dict[str, Any]:
    return models.SuppressionEntry.model_validate(row).model_dump(mode="json")


def _change_json(row: Mapping[str, Any]) -> dict[str, Any]:
    return models.SuppressionChange.model_validate(row).model_dump(mode="json")
