"""The blacklist: who is on it and why, its history, and the commands that change it."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from time import monotonic
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.concurrency import run_in_threadpool

from projections.queries import suppressions
from projections.web.api import models
from projections.web.auth import Asker, Reading, Resetting
from projections.web.cursor import decode, encode
from projections.web.params import AddressPath, ChannelPath, CursorQuery, LimitQuery
from projections.web.problems import ProblemError, away, responses, wrong
from projections.web.state import BASE, NotTakenError
from schemas.addresses import Address, normalised
from schemas.decisions import Command, Rule
from schemas.events import Channel

router = APIRouter(prefix=BASE, tags=["suppressions"])
#: Seconds between two looks for the outcome of a command.
_LOOK: Final = 0.25
Doing = Literal["reset", "add"]
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1024)
]  # fmt: skip


class Add(BaseModel):
    """Why an address is to be listed by hand."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(examples=["asked for it on the telephone"])


class Reset(BaseModel):
    """Why the listing of an address is to be lifted."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(examples=["mailbox was full, is repaired"])
    confirmed_complaint: bool = Field(
        default=False, description="Needed where its owner reported a message as spam"
    )


@router.get(
    "/suppressions",
    summary="Who is blacklisted",
    responses={200: {"model": models.Entries}, **responses()},
)
def listing(
    asker: Reading,
    channel: Annotated[Channel | None, Query(description="Only of this channel")] = None,
    rule: Annotated[Rule | None, Query(description="Only where this rule holds")] = None,
    address: Annotated[str, Query(max_length=320, description="Part of the address")] = "",
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> JSONResponse:
    """Return who is blacklisted now, in order of channel and address."""
    rows, following = paged(
        asker, channel=channel, rule=rule, address=address, limit=limit, cursor=cursor
    )
    return JSONResponse({"rows": [_entry(row) for row in rows], "next": following})


def paged(
    asker: Asker,
    *,
    channel: Channel | None,
    rule: Rule | None,
    address: str,
    limit: int,
    cursor: str | None,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the entries of a page, and the cursor of the next, if there is one.

    Raises `ProblemError`, also for a cursor of another question.
    """
    identity, last = (asker.tenant, channel, rule, address), None
    if cursor is not None:
        before, after = decode(identity, cursor, (str, str))
        last = (cast("Channel", before), str(after))
    reader = asker.parts.reader
    with reader.asking() as client:
        rows = suppressions.listed(
            client, reader.name, asker.tenant,
            channel=channel, rule=rule, address=address, limit=limit + 1, after=last,
        )  # fmt: skip
    if len(rows) <= limit:
        return rows, None
    row = rows[limit - 1]
    return rows[:limit], encode(identity, [row["channel"], row["address"]])


@router.get(
    "/suppressions/{channel}/{address:path}/history",
    summary="What was done to an address",
    responses={200: {"model": models.History}, **responses(404)},
)
def history(asker: Reading, channel: ChannelPath, address: AddressPath) -> JSONResponse:
    """Return every change of the listing of an address, the oldest first."""
    reader = asker.parts.reader
    with reader.asking() as client:
        lines = suppressions.history(client, reader.name, whose_of(asker, channel, address))
    return JSONResponse({"rows": [_line(line) for line in lines]})


@router.get(
    "/suppressions/{channel}/{address:path}",
    summary="Is an address blacklisted?",
    responses={200: {"model": models.Standing}, **responses(404)},
)
def standing(asker: Reading, channel: ChannelPath, address: AddressPath) -> JSONResponse:
    """Say whether an address is blacklisted and, if so, why, since when and by which message."""
    return JSONResponse(_standing(asker, whose_of(asker, channel, address)))


_OUTCOMES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": models.Changed, "description": "It took effect"},
    202: {"model": models.Pending, "description": "It is on its way; do not ask twice"},
    **responses(404, 409),
}


@router.post(
    "/suppressions/{channel}/{address:path}/reset",
    summary="Lift the listing of an address",
    responses=_OUTCOMES,
)
async def reset(
    asker: Resetting, channel: ChannelPath, address: AddressPath, body: Reset
) -> JSONResponse:
    """Ask for a reset in the name of the key and wait for it; 409 says why it was refused."""
    return await _command(
        asker, whose_of(asker, channel, address), "reset", body.reason,
        confirmed_complaint=body.confirmed_complaint,
    )  # fmt: skip


@router.post(
    "/suppressions/{channel}/{address:path}/add",
    summary="List an address by hand",
    responses=_OUTCOMES,
)
async def add(
    asker: Resetting, channel: ChannelPath, address: AddressPath, body: Add
) -> JSONResponse:
    """Ask in the name of the key for an address to be listed, and wait for it."""
    return await _command(asker, whose_of(asker, channel, address), "add", body.reason)


async def _command(
    asker: Asker, whose: Address, what: Doing, reason: str, *, confirmed_complaint: bool = False
) -> JSONResponse:
    command_id = await asked(asker, whose, what, reason, confirmed_complaint=confirmed_complaint)
    line = await outcome(asker, whose, command_id)
    if line is None:
        detail = "no worker has dealt with it yet; look for it in the history, do not ask twice"
        return JSONResponse({"command_id": command_id, "detail": detail}, status_code=202)
    if line["change"] == "refused":
        raise ProblemError(HTTPStatus.CONFLICT, line["reason"] or "the command was refused")
    now = await run_in_threadpool(_standing, asker, whose)
    return JSONResponse({"command_id": command_id, "line": _line(line), "now": now})


async def asked(
    asker: Asker, whose: Address, what: Doing, reason: str, *, confirmed_complaint: bool = False
) -> str:
    """Publish a command in the name of the key and return its id.

    Raises a 422 problem for what is no command, 503 if Kafka does not take it.
    """
    try:
        command = Command(
            id=uuid.uuid4().hex, command=what, tenant_id=whose.tenant_id, channel=whose.channel,
            address=whose.address, actor=asker.key.name, reason=reason,
            confirmed_complaint=confirmed_complaint, asked_at=datetime.now(UTC),
        )  # fmt: skip
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise wrong(str(problem["loc"][0]), problem["msg"]) from None
    try:
        await run_in_threadpool(asker.parts.command, command)
    except NotTakenError as error:
        raise away("Kafka did not confirm the command; nothing is known to be asked") from error
    return command.id


async def outcome(asker: Asker, whose: Address, command_id: str) -> dict[str, Any] | None:
    """Wait for the line of history that a command leads to; None if there is none in time."""
    reader = asker.parts.reader

    def look() -> dict[str, Any] | None:
        with reader.asking() as client:
            return suppressions.outcome(client, reader.name, whose, command_id)

    deadline = monotonic() + asker.parts.outcome_seconds
    while True:
        try:
            if line := await run_in_threadpool(look):
                return line
        except ProblemError:
            # The command is on Kafka whether ClickHouse is there or not: to say that it failed
            # would have it asked for twice.
            pass
        if monotonic() > deadline:
            return None
        await asyncio.sleep(_LOOK)


def whose_of(asker: Asker, channel: Channel, address: str) -> Address:
    """Return an address of the tenant that is asked about, as the log has it."""
    return Address(asker.tenant, channel, normalised(channel, address))


def _standing(asker: Asker, whose: Address) -> dict[str, Any]:
    reader = asker.parts.reader
    with reader.asking() as client:
        entry = suppressions.entry(client, reader.name, whose)
    return {
        "tenant_id": whose.tenant_id,
        "channel": whose.channel,
        "address": whose.address,
        "listed": entry is not None,
        "entry": None if entry is None else _entry(entry),
        "refused_since": 0 if entry is None else entry["refused_since"],
    }


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return models.Entry.model_validate(row).model_dump(mode="json")


def _line(row: dict[str, Any]) -> dict[str, Any]:
    return models.Line.model_validate(row).model_dump(mode="json")
