"""The pages of the Email Log and the SMS Log: search, filters, order, points in time, exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from projections.queries.days import canonical_day
from projections.queries.export import ExportFormat
from projections.queries.listing import EQUALITY_COLUMNS, SORTS, Filter, QueryError, statuses_of
from projections.queries.search import words_of
from projections.queries.totals import RowTotal
from projections.tables import log_of
from projections.web.log_export import export_response
from projections.web.log_query import LogParameters, LogQuery, LogRows, RequestedParameters
from projections.web.pages.auth import FormFields, PageCaller, TenantCaller
from projections.web.pages.labels import LOG_NAMES, filter_text
from projections.web.pages.log_columns import (
    choosable_columns,
    chosen_columns,
    column_headings,
    usual_columns,
)
from projections.web.pages.marks import SearchMarks
from projections.web.pages.positions import UNASKED_COUNT_SECONDS, page_position, total_text
from projections.web.pages.render import PAGE_ROWS, problem_text, render_page, sentence
from projections.web.pages.saved_views import RefusedView, delete_view, save_view, view_menu
from projections.web.pages.times import times_for
from projections.web.pages.url import PageUrl, RedirectError, shareable_url
from projections.web.params import ApiRoute, CursorQuery, UtcTime, parse_utc_time
from projections.web.problems import ProblemError, to_problem
from projections.web.translation import gettext
from schemas.events import iso_milliseconds
from schemas.words import Words

router = APIRouter(include_in_schema=False, route_class=ApiRoute)
#: Filters by these columns name an address or a customer record, whose log it then is.
_SUBJECT_COLUMNS: Final = ("recipient", "record_type", "record_id")
#: The orders of a log, as parameters and in words.
_ORDERS: Final = {
    channel: [
        ("date", "desc", Words("Newest first")), ("date", "asc", Words("Oldest first")),
        ("recipient", "asc", from_a), ("recipient", "desc", from_z),
        ("status", "asc", Words("Status from A")), ("status", "desc", Words("Status from Z")),
    ]
    for channel, from_a, from_z in (
        ("email", Words("Recipient from A"), Words("Recipient from Z")),
        ("sms", Words("Number from A"), Words("Number from Z")),
    )
}  # fmt: skip
#: With more newer messages the hint says "100+".
MAX_NEWER_MESSAGES: Final = 100
#: A time as people write it, or nothing.
PastQuery = Annotated[str, Query(max_length=100)]
ThanQuery = Annotated[UtcTime | None, Query()]
ColumnsQuery = Annotated[list[str], Query(max_length=100)]
TotalQuery = Annotated[bool, Query()]
LastQuery = Annotated[int, Query(ge=0)]
#: The first day of periods that people often ask for, by the period's name: in words, so that a
#: page that is opened next week, or saved as a view, is about the days before that.
_PRESETS: Final = {
    Words("Today"): "today", Words("7 days"): "6 days ago", Words("30 days"): "29 days ago",
    Words("90 days"): "89 days ago",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """The query of a log's page, read from its URL."""

    caller: PageCaller
    url: PageUrl
    query: LogQuery
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UncheckedPage:
    """A log's page as its URL has it, not checked yet."""

    caller: PageCaller
    url: PageUrl
    parameters: LogParameters
    as_of: str
    columns: Sequence[str]

    def checked(self) -> LogPage:
        """Return the page with its query. Raises as `LogParameters.query` does, for columns too."""
        time = parse_utc_time("as_of", self.as_of) if self.as_of else None
        query = self.parameters.query(self.caller, time)
        columns = chosen_columns(query.channel, self.columns)
        return LogPage(caller=self.caller, url=self.url, query=query, columns=columns)


def unchecked_page(
    request: Request,
    caller: TenantCaller,
    parameters: RequestedParameters,
    as_of: PastQuery = "",
    columns: ColumnsQuery = [],  # noqa: B006 FastAPI copies it
) -> UncheckedPage:
    """Return a page as it is in its URL. Raises as `shareable_url` does."""
    return UncheckedPage(
        caller=caller, url=_shareable_url(request, caller), parameters=parameters, as_of=as_of,
        columns=columns,
    )  # fmt: skip


def _shareable_url(request: Request, caller: PageCaller) -> PageUrl:
    """Return the URL of a request as `shareable_url` does, if it means the same to everybody.

    Else raise a redirect to one that does: with times in UTC, and days that have no slashes.
    """
    url = PageUrl.of(request).in_utc(caller.time_zone)
    today = datetime.now(caller.time_zone).date()
    url = url.with_days(lambda text: canonical_day(text, today, caller.typed_words.days))
    if url != PageUrl.of(request):
        raise RedirectError(str(url.normalised()))
    return shareable_url(request)


UncheckedLogPage = Annotated[UncheckedPage, Depends(unchecked_page)]


def log_page(unchecked: UncheckedLogPage) -> LogPage:
    """Return the query of a page. Raises as `LogParameters.query` does."""
    return unchecked.checked()


RequestedPage = Annotated[LogPage, Depends(log_page)]


@router.get("/logs/{channel}")  # noqa: FAST003 the query has it
def show_log(
    unchecked: UncheckedLogPage, cursor: CursorQuery = None, *, total: TotalQuery = False
) -> HTMLResponse:
    """Show a page of a log."""
    return render_log(unchecked, cursor, total=total)


def render_log(
    unchecked: UncheckedPage, cursor: str | None, *, total: bool,
    refused_view: RefusedView | None = None,
) -> HTMLResponse:  # fmt: skip
    """Return a page of a log; what cannot be asked is said above the forms, with what was typed.

    Rows are counted for `total` only: else the script asks for their number after the page.
    """
    try:
        page = unchecked.checked()
        shown = page.query.page(limit=PAGE_ROWS, cursor=cursor)
        counted = page.query.total() if total and shown.next else None
        return _render_rows(page, shown, cursor=cursor, counted=counted, refused_view=refused_view)
    except (QueryError, ProblemError) as error:
        problem = to_problem(error)
        if problem.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
    query = LogQuery(caller=unchecked.caller, channel=unchecked.parameters.channel)
    refused = LogPage(
        caller=unchecked.caller, url=unchecked.url, query=query,
        columns=usual_columns(query.channel),
    )  # fmt: skip
    return _render_rows(refused, LogRows([], None, None, None), cursor=None, problem=problem)


def _render_rows(
    page: LogPage, shown: LogRows, *, cursor: str | None, counted: RowTotal | None = None,
    problem: ProblemError | None = None, refused_view: RefusedView | None = None,
) -> HTMLResponse:  # fmt: skip
    query, url, log, rows = page.query, page.url, log_of(page.query.channel), shown.rows
    is_newest = (
        cursor is None and query.sort == "date" and query.descending and query.as_of is None
        and problem is None
    )  # fmt: skip
    path = page.caller.place(f"/logs/{query.channel}")
    newer_url = url.with_path(f"{path}/newer")
    if rows:
        newer_url = newer_url.with_values(than=iso_milliseconds(rows[0]["date"]))
    position = page_position(shown, counted)
    with times_for(page.caller):
        filters = _filter_links(url, query)
    count_url = url.with_path(f"{path}/count")
    return render_page(
        "log", page.caller,
        status=HTTPStatus.UNPROCESSABLE_ENTITY if problem or refused_view else HTTPStatus.OK,
        view_menu=view_menu(page.caller, query.channel, url, refused_view),
        problem=problem_text(problem),
        title=LOG_NAMES[query.channel], channel=query.channel, query=query, url=url,
        rows=rows, body="subject" if query.channel == "email" else "text",
        orders=_ORDERS[query.channel],
        marks=SearchMarks(channel=query.channel, words=_words(query)),
        is_text=bool(query.search), quoted_url=_quoted(url),
        day_example="25/11/2026" if page.caller.typed_words.days.is_day_first else "11/25/2026",
        presets=_PRESETS, period_url=_without_period(url),
        statuses=statuses_of(log),
        chosen=[value for name, value in url.pairs if name == "status"],
        filter_columns=[name for name in log.columns if name != "tenant_id"],
        columns=column_headings(query.channel, page.columns),
        all_columns=column_headings(query.channel, choosable_columns(query.channel)),
        is_usual=page.columns == usual_columns(query.channel), sorts=SORTS,
        filters=filters, subject=_subject(query),
        next_url=url.with_values(cursor=shown.next) if shown.next else None,
        previous_url=url.with_values(cursor=shown.previous) if shown.previous else None,
        is_later_page=cursor is not None, position=position,
        count_url=count_url.with_values(last=str(position.last)) if position else "",
        total_url=url.with_values(total="true", **({"cursor": cursor} if cursor else {})),
        newer_url=str(newer_url) if is_newest else "",
        latest=_latest_message(page) if not rows and not (cursor or problem) else None,
    )  # fmt: skip


@router.post("/logs/{channel}/views")  # noqa: FAST003 the query has it
def change_views(unchecked: UncheckedLogPage, fields: FormFields) -> Response:
    """Save the search of the URL as a view, or delete one; redirect to the page of the search."""
    caller, channel = unchecked.caller, unchecked.parameters.channel
    url, name = unchecked.url.with_path(caller.place(f"/logs/{channel}")), fields.get("name", "")
    try:
        if fields.get("do") == "delete":
            delete_view(caller, channel, name)
        else:
            unchecked.checked()
            save_view(caller, channel, url, name)
    except (QueryError, ProblemError) as error:
        problem = to_problem(error)
        if problem.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        refused = RefusedView(name=name, problem=sentence(problem))
        return render_log(replace(unchecked, url=url), None, total=False, refused_view=refused)
    return RedirectResponse(str(url), status_code=HTTPStatus.SEE_OTHER)


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


@router.get("/logs/{channel}/count")  # noqa: FAST003 the query has it
def show_total(page: RequestedPage, last: LastQuery = 0) -> HTMLResponse:
    """Show how many rows there are, if that is soon counted; `last` is the place of a row."""
    return render_total(page, last)


def render_total(page: LogPage, last: int) -> HTMLResponse:
    """Return how many rows the query of a page has."""
    total = page.query.total(seconds=UNASKED_COUNT_SECONDS)
    path = page.caller.place(f"/logs/{page.query.channel}")
    url = page.url.with_path(path).with_values(total="true")
    return render_page(
        "total", page.caller, text=total_text(total, last), url="" if total else str(url)
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
    links, has_status = [], False
    for name, value in url.pairs:
        rest = url.without_pairs((name, value))
        if name == "q" and value.strip():
            links.append((_search_text(query, value), rest))
        elif name in EQUALITY_COLUMNS:
            text = filter_text(Filter(name, "=", value))
            if name == "status":
                text = gettext("or %(filter)s", filter=text) if has_status else text
                has_status = True
            links.append((text, rest))
        elif name == "filter":
            links.append((_condition_text(value), rest))
    return links


def _condition_text(condition: str) -> str:
    """Return a condition as people read it; one that is none stays as it is."""
    try:
        return filter_text(Filter.parse(condition))
    except QueryError:
        return condition


def _words(query: LogQuery) -> list[str]:
    return words_of(query.channel, query.search) if query.search else []


def _quoted(url: PageUrl) -> PageUrl:
    """Return the URL that searches for the text itself."""
    return url.with_values(q=f'"{url.value_of("q")}"')


def _without_period(url: PageUrl) -> PageUrl:
    of_date = (pair for pair in url.pairs if pair[0] == "filter" and pair[1].startswith("date"))
    return url.without_pairs(*of_date)


def _search_text(query: LogQuery, value: str) -> str:
    """Return what is searched, as it was understood."""
    if not query.search and query.filters:
        last = query.filters[-1]
        return filter_text(last if last.column == "status" else Filter("date", "=", value))
    return gettext("anything contains %(text)s", text=value)


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
