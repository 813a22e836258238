"""The pages of the Email Log and the SMS Log: search, filters, order, points in time, exports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from projections.queries.export import ExportFormat
from projections.queries.listing import EQUALITY_COLUMNS, Filter
from projections.tables import log_of
from projections.web.log_export import export_response
from projections.web.log_query import LogParameters, LogQuery, RequestedParameters
from projections.web.pages.auth import PageCaller, TenantCaller
from projections.web.pages.labels import LOG_NAMES, filter_text
from projections.web.pages.render import PAGE_ROWS, render_page
from projections.web.pages.url import PageUrl, shareable_url
from projections.web.params import CursorQuery, UtcTime, parse_utc_time
from schemas.events import iso_milliseconds

router = APIRouter(include_in_schema=False)
#: Filters by these columns name an address or a customer record, whose log it then is.
_SUBJECT_COLUMNS: Final = ("recipient", "record_type", "record_id")
#: With more newer messages the hint says "100+".
MAX_NEWER_MESSAGES: Final = 100
#: A time as people write it, or nothing.
PastQuery = Annotated[str, Query(max_length=100)]
ThanQuery = Annotated[UtcTime | None, Query()]
#: How many days before today a period begins, by its name.
_PRESET_DAYS: Final = {"Today": 0, "7 days": 6, "30 days": 29, "90 days": 89}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """The query of a log's page, read from its URL."""

    caller: PageCaller
    url: PageUrl
    query: LogQuery


def log_page(
    request: Request,
    caller: TenantCaller,
    parameters: RequestedParameters,
    as_of: PastQuery = "",
) -> LogPage:
    """Return the query of a page. Raises as `read_log_page` does."""
    return read_log_page(request, caller, parameters, as_of)


def read_log_page(
    request: Request, caller: PageCaller, parameters: LogParameters, as_of: str
) -> LogPage:
    """Return the query of a caller's page, `as_of` a time or "".

    Raises as `shareable_url` and `LogParameters.query` do.
    """
    url = shareable_url(request)
    query = parameters.query(caller, parse_utc_time("as_of", as_of) if as_of else None)
    return LogPage(caller=caller, url=url, query=query)


RequestedPage = Annotated[LogPage, Depends(log_page)]


@router.get("/logs/{channel}")  # noqa: FAST003 the query has it
def show_log(page: RequestedPage, cursor: CursorQuery = None) -> HTMLResponse:
    """Show a page of a log."""
    return render_log(page, cursor)


def render_log(page: LogPage, cursor: str | None) -> HTMLResponse:
    """Return a page of a log, from a cursor on."""
    query, url, log = page.query, page.url, log_of(page.query.channel)
    rows, next_cursor = query.page(limit=PAGE_ROWS, cursor=cursor)
    is_newest = cursor is None and query.sort == "date" and query.descending and query.as_of is None
    newer_url = url.with_path(page.caller.place(f"/logs/{query.channel}/newer"))
    if rows:
        newer_url = newer_url.with_values(than=iso_milliseconds(rows[0]["date"]))
    return render_page(
        "log", page.caller,
        title=LOG_NAMES[query.channel], channel=query.channel, query=query, url=url,
        rows=rows, body="subject" if query.channel == "email" else "text",
        is_text=bool(query.search), quoted_url=_quoted(url),
        presets=_presets(), period_url=_without_period(url),
        statuses=list(dict.fromkeys(rule.status for rule in log.rules)),
        columns=[name for name in log.columns if name != "tenant_id"],
        filters=_filter_links(url, query), subject=_subject(query),
        next_url=url.with_values(cursor=next_cursor) if next_cursor else None,
        is_later_page=cursor is not None,
        newer_url=str(newer_url) if is_newest else "",
        latest=_latest_message(page) if not rows and cursor is None else None,
    )  # fmt: skip


@router.get("/logs/{channel}/newer")  # noqa: FAST003 the query has it
def show_newer_count(page: RequestedPage, than: ThanQuery = None) -> HTMLResponse:
    """Show how many messages are newer than a time; nothing if there are none."""
    return render_newer_count(page, than)


def render_newer_count(page: LogPage, than: datetime | None) -> HTMLResponse:
    """Return how many messages of a page's query are newer than a time."""
    query = page.query
    if than is not None:
        newer = Filter("date", ">", iso_milliseconds(than))
        query = replace(query, filters=(*query.filters, newer))
    count = len(query.rows(limit=MAX_NEWER_MESSAGES))
    url = page.url.without("than").with_path(page.caller.place(f"/logs/{query.channel}"))
    return render_page(
        "newer_count", page.caller, count=count, max_count=MAX_NEWER_MESSAGES, url=url
    )


@router.get("/logs/{channel}/export")  # noqa: FAST003 the query has it
async def download_log(
    page: RequestedPage,
    format: ExportFormat = "csv",  # noqa: A002 the name of the parameter
) -> StreamingResponse:
    """Stream a log as a file."""
    return await export_response(page.query, format)


def _filter_links(url: PageUrl, query: LogQuery) -> list[tuple[str, PageUrl]]:
    """Return each filter of a page as text, with the URL without it."""
    links = []
    for name, value in url.pairs:
        rest = url.without_pairs((name, value))
        if name == "q" and value.strip():
            links.append((_search_text(query, value), rest))
        elif name in EQUALITY_COLUMNS:
            links.append((filter_text(Filter(name, "=", value)), rest))
        elif name == "filter":
            links.append((filter_text(Filter.parse(value)), rest))
    return links


def _quoted(url: PageUrl) -> PageUrl:
    """Return the URL that searches for the text itself."""
    return url.with_values(q=f'"{url.value_of("q")}"')


def _presets() -> list[tuple[str, date]]:
    """Return periods that people often ask for, by their first day."""
    today = datetime.now(UTC).date()
    return [(name, today - timedelta(days=days)) for name, days in _PRESET_DAYS.items()]


def _without_period(url: PageUrl) -> PageUrl:
    of_date = (pair for pair in url.pairs if pair[0] == "filter" and pair[1].startswith("date"))
    return url.without_pairs(*of_date)


def _search_text(query: LogQuery, value: str) -> str:
    """Return what is searched, as it was understood."""
    if not query.search:
        last = query.filters[-1]
        return filter_text(last) if last.column == "status" else f"date is {value}"
    return f"anything contains {value}"


def _subject(query: LogQuery) -> str:
    """Return the customer record and address of the log, as "family 42"; empty: the tenant."""
    filters = query.listing(limit=0).filters
    values = {filter_.column: filter_.value for filter_ in filters if filter_.operator == "="}
    record = f"{values.get('record_type', '')} {values.get('record_id', '')}".strip()
    return " ".join(filter(None, (record, values.get("recipient", ""))))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestMessage:
    """What an empty page shows instead: the latest message of the same customer record or address.

    `date` is None if there is none. `in_other_period` if only filters by date exclude it.
    """

    date: datetime | None
    in_other_period: bool
    link: str


def _latest_message(page: LogPage) -> LatestMessage:
    query = page.query
    of_subject = tuple(
        filter_ for filter_ in query.filters
        if filter_.column in _SUBJECT_COLUMNS and filter_.operator == "="
    )  # fmt: skip
    others = [filter_ for filter_ in query.filters if filter_ not in of_subject]
    rows = LogQuery(caller=query.caller, channel=query.channel, filters=of_subject).rows(limit=1)
    return LatestMessage(
        date=rows[0]["date"] if rows else None,
        in_other_period=bool(others) and not query.search
        and all(filter_.column == "date" for filter_ in others),
        link=page.caller.link(
            f"/logs/{query.channel}", **{filter_.column: filter_.value for filter_ in of_subject}
        ),
    )  # fmt: skip
