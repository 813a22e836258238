"""Counts over a log, how long deliveries take, and what is sent and silent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from projections.queries.breakdown import counts, delivery_time
from projections.queries.counts import daily_counts
from projections.queries.listing import Filter
from projections.web.api import models
from projections.web.auth import Asker, Reading
from projections.web.log_query import Question, moment_of
from projections.web.params import ChannelPath, CursorQuery, LimitQuery, SinceQuery, UntilQuery
from projections.web.problems import responses, wrong
from projections.web.row_models import iso, row_shown
from projections.web.state import BASE
from schemas.events import Channel, milliseconds

router = APIRouter(prefix=BASE, tags=["statistics"])
#: The status of what is under way, in both logs.
WAITING: Final = "Sent"
_USUAL: Final = timedelta(days=30)
_LONGEST: Final = timedelta(days=400)
#: In a cursor: between the time from which a walk counts back, of at most so many digits, and the
#: place, which has no such character.
_BETWEEN: Final = "."
_DIGITS: Final = 15


@router.get(
    "/statistics/{channel}",
    summary="Counts of statuses, and time to delivery",
    responses={200: {"model": models.Statistics}, **responses(404)},
)
def statistics(
    asker: Reading,
    channel: ChannelPath,
    since: SinceQuery = None,
    until: UntilQuery = None,
    by: Annotated[Literal["day", "provider", "domain"], Query(description="What to count by")] = (
        "day"
    ),
) -> JSONResponse:
    """Count the messages of some days, by default of the last 30, by day, provider or domain."""
    until = until or datetime.now(UTC)
    since = since or until - _USUAL
    if not since < until <= since + _LONGEST:
        raise wrong("since", f"takes a time before `until`, by at most {_LONGEST.days} days")
    reader = asker.parts.reader
    with reader.asking() as client:
        asked = (client, reader.name, channel, asker.tenant, since, until)
        found = (
            [(str(day), status, messages) for day, status, messages in daily_counts(*asked)]
            if by == "day"
            else counts(*asked, by)
        )
        took = delivery_time(*asked)
    return JSONResponse({
        "since": iso(since),
        "until": iso(until),
        "by": by,
        "counts": [
            {"group": group, "status": status, "messages": messages}
            for group, status, messages in found
        ],
        "time_to_delivery": {
            "messages": took.messages, "median_seconds": took.median, "p95_seconds": took.p95,
        },
    })  # fmt: skip


@router.get(
    "/statistics/{channel}/stuck",
    summary="What is sent and silent",
    responses={200: {"model": models.EmailPage | models.SmsPage}, **responses(404)},
)
def stuck(
    asker: Reading,
    channel: ChannelPath,
    hours: Annotated[int, Query(ge=0, le=24 * 365, description="Silent for so many hours")] = 24,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> JSONResponse:
    """Return the messages of status Sent of which nothing has been heard for some hours.

    A walk by cursors counts them back from when it began.
    """
    silent_since = datetime.now(UTC) - timedelta(hours=hours)
    if cursor is not None:
        at, _, cursor = cursor.partition(_BETWEEN)
        silent_since = moment_of(int(at) if at.isdecimal() and len(at) < _DIGITS else None)
    rows, following = silent(asker, channel, silent_since).page(limit=limit, cursor=cursor)
    if following is not None:
        following = f"{milliseconds(silent_since)}{_BETWEEN}{following}"
    return JSONResponse({"rows": [row_shown(row) for row in rows], "next": following})


def silent(asker: Asker, channel: Channel, since: datetime) -> Question:
    """Return the question about what is sent, and silent since a time."""
    filters = (Filter("status", "=", WAITING), Filter("last_event_at", "<=", iso(since)))
    return Question(asker=asker, channel=channel, filters=filters)
