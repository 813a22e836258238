"""The Email Log and the SMS Log as pages: search, filters, order, points in time, what is newer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from projections.queries.export import Format
from projections.queries.listing import Filter
from projections.tables import log_of
from projections.web.api import logs
from projections.web.log_query import Giving, Question
from projections.web.pages import labels
from projections.web.pages.auth import ElsewhereError, Viewer, Viewing
from projections.web.pages.render import page
from projections.web.pages.url import Bar
from projections.web.params import CursorQuery, Instant, instant
from projections.web.row_models import iso

router = APIRouter(include_in_schema=False)
#: Columns that say whose messages a log is of.
_WHOSE: Final = ("recipient", "record_type", "record_id")
_EQUAL: Final = (
    "status", "recipient", "message_id", "record_type", "record_id", "campaign", "provider",
)  # fmt: skip
#: Newer messages are counted up to here.
_NEWER: Final = 100
_PAGE: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A log as its address asks for it."""

    viewer: Viewer
    bar: Bar
    question: Question


def shown(
    request: Request,
    viewer: Viewing,
    given: Giving,
    as_of: Annotated[str, Query(max_length=100)] = "",
) -> Shown:
    """Read a log's page off its address. Raises as `Given.question` does.

    An address with parts of a filter yet to be put together, or with empty parameters, leads to
    the one without: so the address bar has one that can be shared.
    """
    bar = Bar.of(request)
    if bar.tidy() != bar:
        raise ElsewhereError(str(bar.tidy()))
    question = given.question(viewer.asker, instant("as_of", as_of) if as_of else None)
    return Shown(viewer=viewer, bar=bar, question=question)


Log = Annotated[Shown, Depends(shown)]


@router.get("/logs/{channel}")  # noqa: FAST003 the question has it
def log(shown: Log, cursor: CursorQuery = None) -> HTMLResponse:
    """Show a page of a log."""
    question, bar = shown.question, shown.bar
    rows, following = question.page(limit=_PAGE, cursor=cursor)
    live = cursor is None and question.sort == "date" and question.descending
    newer = bar.to(f"/logs/{question.channel}/newer")
    if rows:
        newer = newer.put(than=iso(rows[0]["date"]))
    return page(
        "log", shown.viewer,
        title=labels.LOGS[question.channel], channel=question.channel, question=question, bar=bar,
        rows=rows, body="subject" if question.channel == "email" else "text",
        statuses=list(dict.fromkeys(rule.status for rule in log_of(question.channel).rules)),
        columns=[name for name in log_of(question.channel).readings if name != "tenant_id"],
        chips=list(_chips(bar, question)), of=_of(question),
        next=bar.put(cursor=following) if following else None, walking=cursor is not None,
        newer=str(newer) if live and question.as_of is None else "",
        latest=_latest(shown) if not rows and cursor is None else None,
    )  # fmt: skip


@router.get("/logs/{channel}/newer")  # noqa: FAST003 the question has it
def newer(shown: Log, than: Annotated[Instant | None, Query()] = None) -> HTMLResponse:
    """Say how many messages there are now that a page does not show; empty if none."""
    question = shown.question
    if than is not None:
        later = Filter("date", ">", iso(than))
        question = replace(question, filters=(*question.filters, later))
    count = len(question.rows(limit=_NEWER))
    bar = shown.bar.without("than").to(f"/logs/{question.channel}")
    return page("newer", shown.viewer, count=count, most=_NEWER, bar=bar)


@router.get("/logs/{channel}/export")  # noqa: FAST003 the question has it
async def export(
    shown: Log,
    format: Format = "csv",  # noqa: A002 the name of the parameter
) -> StreamingResponse:
    """Stream a log as a file."""
    return await logs.exported(shown.question, format)


def _chips(bar: Bar, question: Question) -> list[tuple[str, Bar]]:
    """Return what narrows a log, in words, each with the address without it."""
    chips = []
    for name, value in bar.pairs:
        rest = bar.less((name, value))
        if name == "q" and question.search:
            chips.append((f"anything contains {value}", rest))
        elif name in _EQUAL:
            chips.append((labels.condition(Filter(name, "=", value)), rest))
        elif name == "filter":
            chips.append((labels.condition(Filter.parse(value)), rest))
    return chips


def _of(question: Question) -> str:
    """Return whose messages these are, as "family 42"; empty: the tenant's."""
    whose = {each.column: each.value for each in question.filters if each.operator == "="}
    record = f"{whose.get('record_type', '')} {whose.get('record_id', '')}".strip()
    return " ".join(filter(None, (record, whose.get("recipient", ""))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """What there is when a page is empty: the latest of the same record or address."""

    date: datetime | None
    period: bool
    link: str


def _latest(shown: Shown) -> Latest:
    question = shown.question
    whose = tuple(
        each for each in question.filters if each.column in _WHOSE and each.operator == "="
    )
    others = [each for each in question.filters if each not in whose]
    wider = Question(asker=question.asker, channel=question.channel, filters=whose)
    rows = wider.rows(limit=1)
    return Latest(
        date=rows[0]["date"] if rows else None,
        period=bool(others) and not question.search and all(e.column == "date" for e in others),
        link=shown.viewer.link(
            f"/logs/{question.channel}", **{each.column: each.value for each in whose}
        ),
    )
