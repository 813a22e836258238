"""The endpoints of dead letters, for operators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from projections.queries.dead_letters import LetterPlace
from projections.web.api import models
from projections.web.auth import OperatorState
from projections.web.dead_letters import (
    ElementPath,
    OffsetPath,
    PartitionPath,
    TopicPath,
    dead_letter_at,
    dead_letters_page,
)
from projections.web.params import ApiRoute, CursorQuery, LimitQuery
from projections.web.problems import problem_responses
from projections.web.row_models import json_row
from projections.web.state import API_PATH

router = APIRouter(prefix=API_PATH, tags=["dead letters"], route_class=ApiRoute)


@router.get(
    "/dead-letters",
    summary="Records that could not be read",
    responses={200: {"model": models.DeadLetterPage}, **problem_responses()},
)
def get_dead_letters(
    state: OperatorState,
    topic: Annotated[
        str, Query(max_length=249, description="Only of this topic", examples=["email.events.ses"])
    ] = "",
    reason: Annotated[
        str, Query(max_length=200, description="Part of the reason", examples=["not JSON"])
    ] = "",
    replayed: Annotated[bool, Query(description="Also those replayed")] = False,  # noqa: FBT002
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> JSONResponse:
    """Return dead letters, the newest first, without their bytes."""
    rows, next_cursor = dead_letters_page(
        state.database, topic=topic, reason=reason, replayed=replayed, limit=limit, cursor=cursor
    )
    return JSONResponse({"rows": [_to_json(row) for row in rows], "next": next_cursor})


@router.get(
    "/dead-letters/{topic}/{partition}/{offset}/{element}",
    summary="One record that could not be read, with its bytes",
    responses={200: {"model": models.DeadLetterDetails}, **problem_responses(404)},
)
def get_dead_letter(
    state: OperatorState,
    topic: TopicPath,
    partition: PartitionPath,
    offset: OffsetPath,
    element: ElementPath,
) -> JSONResponse:
    """Return a dead letter with its headers, and its bytes in base64."""
    row = dead_letter_at(state.database, LetterPlace(topic, partition, offset, element))
    return JSONResponse({**_to_json(row), "headers": dict(row["headers"]), "raw": row["raw"]})


def _to_json(row: dict[str, Any]) -> dict[str, Any]:
    values = {name.removeprefix("source_"): value for name, value in json_row(row).items()}
    return {name: values[name] for name in models.DeadLetterSummary.model_fields}
