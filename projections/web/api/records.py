"""The endpoints of customer records, and of how addresses stand."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from projections.web.api import models
from projections.web.auth import ReadCaller
from projections.web.params import ApiRoute, LimitQuery, RecordPath
from projections.web.problems import problem_responses
from projections.web.records import Deliverability, KnownAddress, customer_record, known_addresses
from projections.web.row_models import json_row
from projections.web.state import API_PATH
from schemas.events import Channel

router = APIRouter(prefix=API_PATH, tags=["records"], route_class=ApiRoute)


class AddressRequest(BaseModel):
    """An address of a channel, in any way that it may be written."""

    model_config = ConfigDict(extra="forbid")

    channel: Channel
    address: str = Field(min_length=1, max_length=320, examples=["parent@example.com"])


class StandingsRequest(BaseModel):
    """The addresses to look up."""

    model_config = ConfigDict(extra="forbid")

    addresses: list[AddressRequest] = Field(min_length=1, max_length=200)


class Standings(BaseModel):
    """How addresses stand, in the order asked."""

    model_config = ConfigDict(extra="forbid")

    standings: list[models.AddressSuppression]


class RecordAddress(models.AddressSuppression):
    """An address of a record: how it stands, also by how the last messages went."""

    deliverability: Deliverability = Field(
        description="If it is not blacklisted: whether messages since one has arrived failed, and "
        "whether one did because the person opted out",
    )


class CustomerRecord(BaseModel):
    """A customer record: its addresses, those in trouble first, and its newest messages."""

    model_config = ConfigDict(extra="forbid")

    record_type: str = Field(examples=["family"])
    record_id: str = Field(examples=["F-1162"])
    record_name: str = Field(
        description="As its mailer last said, or empty", examples=["The Clark family"]
    )
    record_url: str = Field(
        description="Where the business application has it, or empty",
        examples=["https://app.example.com/families/1162"],
    )
    standings: list[RecordAddress]
    rows: list[
        Annotated[models.RecipientEmail | models.RecipientSms, Field(discriminator="channel")]
    ]


@router.get(
    "/records/{record_type}/{record_id:path}",
    summary="A customer record: its addresses and its newest messages",
    responses={200: {"model": CustomerRecord}, **problem_responses(404)},
)
def get_record(
    caller: ReadCaller, record_type: RecordPath, record_id: RecordPath, limit: LimitQuery = 50
) -> JSONResponse:
    """Return how the addresses of a record stand, and its newest messages of both logs."""
    record = customer_record(caller, record_type, record_id, limit=limit)
    return JSONResponse({
        "record_type": record_type, "record_id": record_id,
        "record_name": record.name.name, "record_url": record.name.url,
        "standings": [
            {**_address_json(each), "deliverability": each.deliverability}
            for each in record.standings
        ],
        "rows": [json_row(row) for row in record.rows],
    })  # fmt: skip


@router.post(
    "/standings",
    summary="How many addresses stand, by one call",
    responses={200: {"model": Standings}, **problem_responses()},
)
def post_standings(caller: ReadCaller, body: StandingsRequest) -> JSONResponse:
    """Return whether each address is blacklisted, in the order asked; changes nothing."""
    addresses = [caller.address_of(each.channel, each.address) for each in body.addresses]
    standings = known_addresses(caller, addresses)
    return JSONResponse({"standings": [_address_json(each) for each in standings]})


def _address_json(known: KnownAddress) -> dict[str, Any]:
    entry = known.entry
    model = models.SuppressionEntry
    return {
        "channel": known.address.channel,
        "address": known.address.address,
        "listed": entry is not None,
        "entry": None if entry is None else model.model_validate(entry).model_dump(mode="json"),
    }
