"""The endpoint of unmatched events."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from projections.web.api import models
from projections.web.auth import ReadCaller
from projections.web.params import ApiRoute, LimitQuery, SinceQuery
from projections.web.problems import problem_responses
from projections.web.row_models import json_row
from projections.web.state import API_PATH
from projections.web.unmatched import unmatched_events

router = APIRouter(prefix=API_PATH, tags=["unmatched"], route_class=ApiRoute)


@router.get(
    "/unmatched",
    summary="Events that fit no message",
    responses={200: {"model": models.UnmatchedEvents}, **problem_responses()},
)
def get_unmatched(
    caller: ReadCaller, since: SinceQuery = None, limit: LimitQuery = 50
) -> JSONResponse:
    """Return the newest events that fit no message, since a time or of the last week."""
    return JSONResponse({"rows": [json_row(row) for row in unmatched_events(caller, since, limit)]})
