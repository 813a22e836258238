"""The endpoints of statistics: counts of statuses, time to delivery, stuck messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from projections.queries.counts import Period, count_by_group, daily_counts, delivery_time
from projections.web.api import models
from projections.web.auth import ReadCaller
from projections.web.cursor import cursor_time
from projections.web.params import (
    ApiRoute,
    ChannelPath,
    CursorQuery,
    LimitQuery,
    SinceQuery,
    UntilQuery,
)
from projections.web.problems import invalid_parameter, problem_responses
from projections.web.row_models import json_row
from projections.web.state import API_PATH
from projections.web.stuck_messages import stuck_query
from schemas.events import iso_milliseconds, milliseconds

router = APIRouter(prefix=API_PATH, tags=["statistics"], route_class=ApiRoute)
_DEFAULT_PERIOD: Final = timedelta(days=30)
_MAX_PERIOD: Final = timedelta(days=400)
#: In a cursor of stuck messages, between the time since which they are and that of their log,
#: which has no such character.
_CURSOR_SEPARATOR: Final = "."
_MAX_TIME_DIGITS: Final = 14


@router.get(
    "/statistics/{channel}",
    summary="Counts of statuses, and time to delivery",
    responses={200: {"model": models.Statistics}, **problem_responses(404)},
)
def get_statistics(
    caller: ReadCaller,
    channel: ChannelPath,
    since: SinceQuery = None,
    until: UntilQuery = None,
    by: Annotated[Literal["day", "provider", "domain"], Query(description="What to count by")] = (
        "day"
    ),
) -> JSONResponse:
    """Count the messages of a period, by default the last 30 days, by day, provider or domain."""
    until = until or datetime.now(UTC)
    since = since or until - _DEFAULT_PERIOD
    if not since < until <= since + _MAX_PERIOD:
        detail = f"takes a time before `until`, by at most {_MAX_PERIOD.days} days"
        raise invalid_parameter("since", detail)
    database, period = caller.state.database, Period(channel, caller.tenant, since, until)
    with database.client() as client:
        counts = (
            [
                (str(day), status, messages)
                for day, status, messages in daily_counts(client, database.name, period)
            ]
            if by == "day"
            else count_by_group(client, database.name, period, by)
        )
        time_to_delivery = delivery_time(client, database.name, period)
    return JSONResponse({
        "since": iso_milliseconds(since),
        "until": iso_milliseconds(until),
        "by": by,
        "counts": [
            {"group": group, "status": status, "messages": messages}
            for group, status, messages in counts
        ],
        "time_to_delivery": {
            "messages": time_to_delivery.messages,
            "median_seconds": time_to_delivery.median,
            "p95_seconds": time_to_delivery.p95,
        },
    })  # fmt: skip


@router.get(
    "/statistics/{channel}/stuck",
    summary="What is sent and silent",
    responses={200: {"model": models.EmailPage | models.SmsPage}, **problem_responses(404)},
)
def get_stuck_messages(
    caller: ReadCaller,
    channel: ChannelPath,
    hours: Annotated[int, Query(ge=0, le=24 * 365, description="Silent for so many hours")] = 24,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> JSONResponse:
    """Return the messages of status Sent without any event for some hours.

    The cursor keeps the time from which the hours are counted back, so all pages agree.
    """
    silent_since = datetime.now(UTC) - timedelta(hours=hours)
    if cursor is not None:
        time, _, cursor = cursor.partition(_CURSOR_SEPARATOR)
        is_time = time.isdecimal() and len(time) <= _MAX_TIME_DIGITS
        silent_since = cursor_time(int(time) if is_time else None)
    page = stuck_query(caller, channel, silent_since).page(limit=limit, cursor=cursor)
    prefix = f"{milliseconds(silent_since)}{_CURSOR_SEPARATOR}"
    return JSONResponse({
        "rows": [json_row(row) for row in page.rows],
        "next": page.next and prefix + page.next,
        "previous": page.previous and prefix + page.previous,
    })  # fmt: skip
