"""The overview page: statuses of the last days, time to delivery, and stuck messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from projections.queries.counts import GroupBy, Period, count_by_group, daily_counts, delivery_time
from projections.web.pages import charts
from projections.web.pages.auth import PageCaller, TenantCaller
from projections.web.pages.labels import LOG_NAMES
from projections.web.pages.render import render_page
from projections.web.params import ChannelPath
from projections.web.stuck_messages import STUCK_STATUS, silence_filter, stuck_query
from schemas.events import Channel
from schemas.words import Words

router = APIRouter(include_in_schema=False)
#: The order of statuses in a bar: good ones at the bottom, bad ones at the top.
_STATUS_ORDER: Final[Mapping[Channel, tuple[str, ...]]] = {
    "email": ("Click", "Open", "Delivery", "Sent", "Skipped", "Invalid", "Bounce"),
    "sms": ("Received", "Delivered", "Sent", "Queued", "Undelivered", "Rejected", "Failed"),
}
#: The rates at the top, each with the statuses that count.
_STATUS_RATES: Final[Mapping[Channel, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "email": (
        (Words("delivered"), ("Delivery", "Open", "Click")), (Words("opened"), ("Open", "Click")),
        (Words("clicked"), ("Click",)), (Words("bounced"), ("Bounce",)),
    ),
    "sms": (
        (Words("delivered"), ("Delivered", "Received")), (Words("read"), ("Received",)),
        (Words("not delivered"), ("Undelivered", "Rejected", "Failed")),
    ),
}  # fmt: skip
_GROUPINGS: Final[Mapping[Channel, tuple[GroupBy, ...]]] = {
    "email": ("provider", "domain"), "sms": ("provider",),
}  # fmt: skip
MAX_CHART_GROUPS: Final = 10
MAX_STUCK_MESSAGES: Final = 10


class StatusRate(NamedTuple):
    """How many messages have some statuses, also as percent of all."""

    name: str
    messages: int
    percent: float


@router.get("/overview/{channel}")
def show_overview(
    caller: TenantCaller,
    channel: ChannelPath,
    days: Annotated[int, Query(ge=2, le=90)] = 30,
    hours: Annotated[int, Query(ge=0, le=24 * 365)] = 24,
) -> HTMLResponse:
    """Show the messages of a channel in the last days."""
    now = datetime.now(UTC)
    zone = caller.time_zone
    today = now.astimezone(zone).date()
    first_day, silent_since = today - timedelta(days=days - 1), now - timedelta(hours=hours)
    since = datetime(first_day.year, first_day.month, first_day.day, tzinfo=zone).astimezone(UTC)
    statuses = _STATUS_ORDER[channel]
    database, period = caller.state.database, Period(channel, caller.tenant, since, now)
    with database.client() as client:
        counts = daily_counts(client, database.name, period, zone.key)
        daily = {(day, status): messages for day, status, messages in counts}
        groups = {
            by: charts.group_shares(
                count_by_group(client, database.name, period, by), statuses, MAX_CHART_GROUPS
            )
            for by in _GROUPINGS[channel]
        }
        time_to_delivery = delivery_time(client, database.name, period)
    totals: Counter[str] = Counter()
    for (_, status), messages in daily.items():
        totals[status] += messages
    chart = charts.daily_chart(daily, statuses, first_day, today)
    silence = silence_filter(silent_since)
    return render_page(
        "overview", caller, channel=channel, name=LOG_NAMES[channel], days=days, hours=hours,
        statuses=statuses, totals=totals, total=totals.total(), rates=_rates(channel, totals),
        groups=groups, time_to_delivery=time_to_delivery, daily=daily, chart=chart, charts=charts,
        day_links=_day_links(caller, channel, chart),
        stuck=stuck_query(caller, channel, silent_since).rows(limit=MAX_STUCK_MESSAGES),
        stuck_status=STUCK_STATUS, silence=f"{silence.column}{silence.operator}{silence.value}",
        body="subject" if channel == "email" else "text",
    )  # fmt: skip


def _rates(channel: Channel, totals: Counter[str]) -> list[StatusRate]:
    total = totals.total()
    rates = []
    for name, statuses in _STATUS_RATES[channel]:
        messages = sum(totals[status] for status in statuses)
        rates.append(StatusRate(name, messages, 100 * messages / total if total else 0))
    return rates


def _day_links(caller: PageCaller, channel: Channel, chart: charts.Chart) -> dict[date, str]:
    """Return the URL of each day's messages in the log."""
    return {
        column.day: caller.link(f"/logs/{channel}", filter=f"date={column.day}")
        for column in chart.columns
    }
