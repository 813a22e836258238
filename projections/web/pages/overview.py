"""The overview: what became of the messages of some days, how fast, and what is stuck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from projections.queries.breakdown import By, counts, delivery_time
from projections.queries.counts import daily_counts
from projections.web.api import statistics
from projections.web.pages import charts, labels
from projections.web.pages.auth import Viewer, Viewing, address
from projections.web.pages.render import page
from projections.web.params import ChannelPath
from projections.web.row_models import iso
from schemas.events import Channel

router = APIRouter(include_in_schema=False)
#: Statuses as bars stand on each other: what is good below, what is not above.
_STACK: Final[Mapping[Channel, tuple[str, ...]]] = {
    "email": ("Click", "Open", "Delivery", "Sent", "Skipped", "Invalid", "Bounce"),
    "sms": ("Received", "Delivered", "Sent", "Queued", "Undelivered", "Rejected", "Failed"),
}
#: What the figures at the top count: statuses, of all.
_RATES: Final[Mapping[Channel, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "email": (
        ("delivered", ("Delivery", "Open", "Click")), ("opened", ("Open", "Click")),
        ("clicked", ("Click",)), ("bounced", ("Bounce",)),
    ),
    "sms": (
        ("delivered", ("Delivered", "Received")), ("read", ("Received",)),
        ("not delivered", ("Undelivered", "Rejected", "Failed")),
    ),
}  # fmt: skip
_GROUPS: Final = 10
_STUCK: Final = 10


class Rate(NamedTuple):
    """How many of all messages something is true of."""

    name: str
    messages: int
    percent: float


@router.get("/overview/{channel}")
def overview(
    viewer: Viewing,
    channel: ChannelPath,
    days: Annotated[int, Query(ge=2, le=90)] = 30,
    hours: Annotated[int, Query(ge=0, le=24 * 365)] = 24,
) -> HTMLResponse:
    """Show a channel's messages of the last days."""
    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since, silent_since = today - timedelta(days=days - 1), now - timedelta(hours=hours)
    reader, groups = viewer.parts.reader, {}
    breakdowns: tuple[By, ...] = ("provider", "domain") if channel == "email" else ("provider",)
    with reader.asking() as client:
        asked = (client, reader.name, channel, viewer.tenant, since, now)
        daily = {(day, status): n for day, status, n in daily_counts(*asked)}
        for by in breakdowns:
            groups[by] = charts.shares(counts(*asked, by), _STACK[channel], _GROUPS)
        took = delivery_time(*asked)
    totals: Counter[str] = Counter()
    for (_, status), messages in daily.items():
        totals[status] += messages
    chart = charts.per_day(daily, _STACK[channel], since.date(), today.date())
    return page(
        "overview", viewer, channel=channel, name=labels.LOGS[channel], days=days, hours=hours,
        since=since, statuses=_STACK[channel], totals=totals, total=totals.total(),
        rates=_rates(channel, totals), groups=groups, took=took, daily=daily,
        chart=chart, size=charts, links=_links(viewer, channel, chart),
        stuck=statistics.silent(viewer.asker, channel, silent_since).rows(limit=_STUCK),
        stuck_filter=f"last_event_at<={iso(silent_since)}",
        body="subject" if channel == "email" else "text", waiting=statistics.WAITING,
    )  # fmt: skip


def _rates(channel: Channel, totals: Counter[str]) -> list[Rate]:
    whole = totals.total()
    found = []
    for name, statuses in _RATES[channel]:
        messages = sum(totals[status] for status in statuses)
        found.append(Rate(name, messages, 100 * messages / whole if whole else 0))
    return found


def _links(viewer: Viewer, channel: Channel, chart: charts.Chart) -> dict[date, str]:
    """Return the address of each day's messages in the log."""
    return {
        each.day: address(
            f"/logs/{channel}",
            [
                *viewer.whose(), ("filter", f"date>={each.day}"),
                ("filter", f"date<{each.day + timedelta(days=1)}"),
            ],
        )
        for each in chart.columns
    }  # fmt: skip
