"""A query about a log, read from a request: filters, search, order, page and point in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query
from pydantic import Field

from projections.column_types import base_type
from projections.queries.days import by_day
from projections.queries.listing import (
    FILTER_OPERATORS,
    After,
    Clock,
    Filter,
    Listing,
    QueryError,
    check_filter,
    place_of,
    statuses_of,
)
from projections.queries.page import MAX_PAGE_ROWS, read_listing
from projections.queries.search import SEARCHED_COLUMNS, read_search, search_page
from projections.tables import log_of, projections
from projections.web.auth import Caller, ReadCaller
from projections.web.cursor import cursor_time, decode_cursor, encode_cursor
from projections.web.params import ChannelPath, UtcTime
from projections.web.problems import invalid_parameter
from schemas.events import MAX_EVENT_TIME, MIN_EVENT_TIME, Channel, milliseconds

SortColumn = Literal["date", "recipient", "status"]
SortOrder = Literal["asc", "desc"]
EqualityQuery = Annotated[
    str | None, Query(max_length=1000, description="Rows with this value exactly")
]
FilterQuery = Annotated[
    list[Annotated[str, Query(max_length=1000)]],
    Query(
        max_length=20,
        description="A condition on any column of the log, COLUMNoperatorVALUE with one of "
        f"`{' '.join(FILTER_OPERATORS)}`, where ~ means contains; a day, as 2026-11-25, is all of "
        "it; may be repeated, and all must hold",
        examples=["subject~invoice", "open_count>=2"],
    ),
]
StatusQuery = Annotated[
    list[
        Annotated[
            str,
            Field(
                max_length=1000,
                json_schema_extra={
                    "enum": sorted({s for log in projections().values() for s in statuses_of(log)})
                },
            ),
        ]
    ],
    Query(
        max_length=20,
        description="Rows with this status; may be repeated, and one must hold. "
        + "; ".join(
            f"{log.channel}: {', '.join(statuses_of(log))}" for log in projections().values()
        ),
        examples=["Bounce"],
    ),
]
SearchQuery = Annotated[
    str,
    Query(
        max_length=200,
        description="A status or a day asks for that; else rows with each of these words, or this "
        'text if it is in "quotes", in upper or lower case, in any of: '
        + "; ".join(
            f"{channel}: {', '.join(names)}" for channel, names in SEARCHED_COLUMNS.items()
        ),
        examples=["invoice"],
    ),
]
#: A cursor has the value sorted by ("" for the date), the date in milliseconds, message and
#: recipient.
_CURSOR_TYPES: Final = (str, int, str, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """A caller's query about a log, without the page."""

    caller: Caller
    channel: Channel
    filters: tuple[Filter, ...] = ()
    search: str = ""
    sort: SortColumn = "date"
    descending: bool = True
    as_of: datetime | None = None
    clock: Clock = "occurred"

    def listing(self, *, limit: int, after: After | None = None) -> Listing:
        """Return the listing of at most `limit` rows that follow a row."""
        return Listing(
            channel=self.channel, tenant=self.caller.tenant, filters=self.filters, sort=self.sort,
            descending=self.descending, limit=limit, as_of=self.as_of, clock=self.clock,
            after=after,
        )  # fmt: skip

    def rows(self, *, limit: int, after: After | None = None) -> list[dict[str, Any]]:
        """Return at most `limit` rows that follow a row. Raises `QueryError`, `ProblemError`."""
        database = self.caller.state.database
        listing = self.listing(limit=limit, after=after)
        with database.client() as client:
            if self.search:
                return search_page(client, database.name, listing, self.search)
            return list(read_listing(client, database.name, listing))

    def page(self, *, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Return the rows of a page, and the cursor of the next, None after the last.

        Raises as `rows` does, also for a cursor of another query.
        """
        after = None if cursor is None else self._decode(cursor)
        # One more row shows whether there is a next page. Over the limit of pages, the query would
        # be planned as an export.
        size = min(limit + 1, MAX_PAGE_ROWS)
        rows = self.rows(limit=size, after=after)
        if len(rows) < size:
            return rows, None
        return rows[:limit], self._encode(rows[limit - 1])

    def _identity(self) -> object:
        return self.listing(limit=0), self.search

    def _encode(self, row: dict[str, Any]) -> str:
        after = place_of(self.listing(limit=0), row)
        value = "" if isinstance(after.value, datetime) else after.value
        return encode_cursor(
            self._identity(), [value, milliseconds(after.date), after.message_id, after.recipient]
        )

    def _decode(self, cursor: str) -> After:
        value, time, message_id, recipient = decode_cursor(self._identity(), cursor, _CURSOR_TYPES)
        date = cursor_time(time)
        return After(date if self.sort == "date" else str(value), date, str(message_id),
                     str(recipient))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LogParameters:
    """The parameters of a request about a log, not checked yet, without the point in time.

    `values` are the values of the other `EQUALITY_COLUMNS`, `conditions` the texts of other
    filters.
    """

    channel: Channel
    statuses: Sequence[str]
    conditions: Sequence[str]
    search: str
    values: Mapping[str, str | None]
    sort: SortColumn
    order: SortOrder | None
    clock: Clock

    def query(self, caller: Caller, as_of: datetime | None) -> LogQuery:
        """Return the query of a caller. Raises `QueryError` and 422 problems for wrong filters."""
        filters = [
            Filter(column, "=", value)
            for column, value in self.values.items() if value is not None
        ]  # fmt: skip
        if self.statuses:
            filters.insert(0, self._status_filter())
        filters += [Filter.parse(text) for text in self.conditions]
        filters = [each.normalised(self.channel, caller.region) for each in filters]
        today = datetime.now(UTC).date()
        filters = list(by_day(log_of(self.channel), filters, today))
        check_filters(self.channel, filters)
        search = read_search(self.channel, self.search, today)
        return LogQuery(
            caller=caller, channel=self.channel, filters=(*filters, *search.filters),
            search=search.text,
            sort=self.sort, as_of=as_of, clock=self.clock,
            descending=self.order == "desc" if self.order else self.sort == "date",
        )  # fmt: skip

    def _status_filter(self) -> Filter:
        try:
            return Filter.of_statuses(log_of(self.channel), self.statuses)
        except QueryError as error:
            raise invalid_parameter("status", str(error)) from None


def log_parameters(
    channel: ChannelPath,
    filter: FilterQuery = [],  # noqa: A002, B006 the name of the parameter; FastAPI copies it
    q: SearchQuery = "",
    status: StatusQuery = [],  # noqa: B006
    recipient: EqualityQuery = None,
    message_id: EqualityQuery = None,
    record_type: EqualityQuery = None,
    record_id: EqualityQuery = None,
    campaign: EqualityQuery = None,
    provider: EqualityQuery = None,
    sort: Annotated[SortColumn, Query(description="By what; then the newest first")] = "date",
    order: Annotated[
        SortOrder | None, Query(description="Default: desc by date, asc by the others")
    ] = None,
    clock: Annotated[
        Clock, Query(description="`as_of` by what had occurred, or had been recorded")
    ] = "occurred",
) -> LogParameters:
    """Return the parameters of a request about a log, by their names in a URL."""
    values = {
        "recipient": recipient, "message_id": message_id,
        "record_type": record_type, "record_id": record_id, "campaign": campaign,
        "provider": provider,
    }  # fmt: skip
    return LogParameters(
        channel=channel, statuses=status, conditions=filter, search=q, values=values, sort=sort,
        order=order, clock=clock,
    )  # fmt: skip


RequestedParameters = Annotated[LogParameters, Depends(log_parameters)]


def log_query(
    caller: ReadCaller,
    parameters: RequestedParameters,
    as_of: Annotated[
        UtcTime | None, Query(description="The log as it was at this time (UTC if no zone)")
    ] = None,
) -> LogQuery:
    """Return the query of an API request. Raises as `LogParameters.query` does."""
    return parameters.query(caller, as_of)


def check_filters(channel: Channel, filters: Sequence[Filter]) -> None:
    """Raise a 422 problem or `QueryError` for an unknown column or an impossible value."""
    log = log_of(channel)
    for filter_ in filters:
        column = filter_.column
        if column not in log.columns:
            raise invalid_parameter(
                "filter", f"no column {column[:100]!r}; there are: {', '.join(log.columns)}"
            )
        kind = base_type(log.columns[column].kind)
        try:
            value = check_filter(log, filter_)
        except OverflowError:
            raise invalid_parameter("filter", f"the time of {column!r} is out of range") from None
        in_range = True
        if isinstance(value, datetime):
            in_range = MIN_EVENT_TIME <= value < MAX_EVENT_TIME
        elif isinstance(value, int) and kind.startswith("UInt"):
            in_range = 0 <= value < 2 ** int(kind.removeprefix("UInt"))
        if not in_range:
            raise invalid_parameter("filter", f"the value of {column!r} is out of range")


RequestedLog = Annotated[LogQuery, Depends(log_query)]
