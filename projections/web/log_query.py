"""A query about a log, read from a request: filters, search, order, page and point in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

from fastapi import Depends, Query
from pydantic import Field

from projections.column_types import base_type
from projections.queries.days import by_day
from projections.queries.listing import (
    CONTAINS,
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
from projections.queries.totals import RowTotal, count_rows
from projections.tables import log_of, projections
from projections.web.auth import Caller, ReadCaller
from projections.web.cursor import cursor_time, decode_cursor, encode_cursor
from projections.web.params import ChannelPath, UtcTime
from projections.web.problems import invalid_parameter
from schemas.events import MAX_EVENT_TIME, MIN_EVENT_TIME, Channel, milliseconds
from schemas.words import Words

SortColumn = Literal["date", "recipient", "status"]
SortOrder = Literal["asc", "desc"]


def equality_query(example: str) -> Any:
    """Return the description of a parameter that asks for a value, with an example of it."""
    return Query(max_length=1000, description="Rows with this value exactly", examples=[example])


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
#: recipient of a row; how many rows are before the page, or of a page before it, before its end;
#: and whether the page is before the row.
_CURSOR_TYPES: Final = (str, int, str, str, int | None, bool)


class LogRows(NamedTuple):
    """Rows of a page, how many are before them (None: unknown), cursors of the pages around it."""

    rows: list[dict[str, Any]]
    before: int | None
    next: str | None
    previous: str | None


class _Place(NamedTuple):
    """What a cursor says: a row, how many are before the page or its end, and the direction."""

    after: After
    before: int | None
    backward: bool


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

    def listing(self, *, limit: int, after: After | None = None, backward: bool = False) -> Listing:
        """Return the listing of at most `limit` rows that follow a row, or precede it.

        It has no row of another record than that of the caller, if that is limited to one.
        """
        record = self.caller.record._asdict() if self.caller.record else {}
        of_record = (Filter(column, "=", value) for column, value in record.items())
        return Listing(
            channel=self.channel, tenant=self.caller.tenant, filters=(*self.filters, *of_record),
            sort=self.sort, descending=self.descending, limit=limit, as_of=self.as_of,
            clock=self.clock, after=after, backward=backward,
        )  # fmt: skip

    def rows(
        self, *, limit: int, after: After | None = None, backward: bool = False
    ) -> list[dict[str, Any]]:
        """Return at most `limit` rows that follow a row, or precede it, the nearest first.

        Raises `QueryError`, `ProblemError`.
        """
        database = self.caller.state.database
        listing = self.listing(limit=limit, after=after, backward=backward)
        with database.client(is_costly=self._is_costly) as client:
            if self.search:
                return search_page(client, database.name, listing, self.search)
            return list(read_listing(client, database.name, listing))

    def page(self, *, limit: int, cursor: str | None) -> LogRows:
        """Return a page of at most `limit` rows, the first one without a cursor.

        Raises as `rows` does, also for a cursor of another query.
        """
        place = None if cursor is None else self._decode(cursor)
        self._audit_look()
        # One more row shows whether there is another page. Over the limit of pages, the query would
        # be planned as an export.
        size = min(limit + 1, MAX_PAGE_ROWS)
        rows = self.rows(
            limit=size, after=place and place.after, backward=bool(place and place.backward)
        )
        has_more, rows = len(rows) == size, rows[:limit] if len(rows) == size else rows
        if place is None:
            return self._page(rows, 0, has_next=has_more, has_previous=False)
        if not place.backward:
            return self._page(rows, place.before, has_next=has_more, has_previous=True)
        before = _rows_before(place.before, len(rows), has_previous=has_more)
        return self._page(rows[::-1], before, has_next=True, has_previous=has_more)

    def _audit_look(self) -> None:
        """Have it in the audit log if it names whom it is about, or searches a text."""
        record = self.caller.record
        named = {
            filter_.column: filter_.value for filter_ in reversed(self.filters)
            if filter_.operator in {"=", CONTAINS}
        }  # fmt: skip
        if record is not None:
            self.caller.audit("look", "record", "/".join(record))
        elif recipient := named.get("recipient"):
            self.caller.audit("look", "address", recipient)
        elif record_id := named.get("record_id"):
            self.caller.audit("look", "record", f"{named.get('record_type', '')}/{record_id}")
        elif message_id := named.get("message_id"):
            self.caller.audit("look", "message", message_id)
        elif self.search:
            self.caller.audit("look", "log", self.channel, detail=self.search)

    @property
    def in_words(self) -> str:
        """What it asks for, in one line."""
        filters = (f"{each.column}{each.operator}{each.value}" for each in self.filters)
        return "; ".join([*filters, *([self.search] if self.search else [])])

    def total(self, *, seconds: float | None = None) -> RowTotal | None:
        """Return how many rows there are; None if counting takes longer than `seconds`.

        Raises as `rows` does.
        """
        database = self.caller.state.database
        with database.client(is_costly=True) as client:
            return count_rows(
                client, database.name, self.listing(limit=0), self.search, seconds=seconds
            )

    def _page(
        self, rows: list[dict[str, Any]], before: int | None, *, has_next: bool, has_previous: bool
    ) -> LogRows:
        if not rows:
            return LogRows(rows, before, None, None)
        end = None if before is None else before + len(rows)
        return LogRows(
            rows, before,
            next=self._encode(rows[-1], end, backward=False) if has_next else None,
            previous=self._encode(rows[0], before, backward=True) if has_previous else None,
        )  # fmt: skip

    @property
    def _is_costly(self) -> bool:
        """Whether it may read all of a log: so others go first."""
        return bool(self.search) or self.as_of is not None

    def _identity(self) -> object:
        return self.listing(limit=0), self.search

    def _encode(self, row: dict[str, Any], before: int | None, *, backward: bool) -> str:
        after = place_of(self.listing(limit=0), row)
        value = "" if isinstance(after.value, datetime) else after.value
        return encode_cursor(
            self._identity(),
            [value, milliseconds(after.date), after.message_id, after.recipient, before, backward],
        )

    def _decode(self, cursor: str) -> _Place:
        value, time, message_id, recipient, before, backward = decode_cursor(
            self._identity(), cursor, _CURSOR_TYPES
        )
        date = cursor_time(time)
        key = date if self.sort == "date" else str(value)
        after = After(key, date, str(message_id), str(recipient))
        return _Place(after, None if before is None else int(before), bool(backward))


def _rows_before(end: int | None, rows: int, *, has_previous: bool) -> int | None:
    """Return how many rows are before a page that ends at a place; None if nobody can say.

    Rows that have come in, or gone, since somebody counted make the count of the beginning wrong.
    """
    if not has_previous:
        return 0
    return end - rows if end is not None and end > rows else None


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
        zone = caller.time_zone
        today = datetime.now(zone).date()
        words = caller.typed_words
        filters = list(by_day(log_of(self.channel), filters, today, zone, words.days))
        check_filters(self.channel, filters)
        search = read_search(self.channel, self.search, today, zone, words)
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
            raise invalid_parameter("status", error.args[0].values["takes"]) from None


def log_parameters(
    channel: ChannelPath,
    filter: FilterQuery = [],  # noqa: A002, B006 the name of the parameter; FastAPI copies it
    q: SearchQuery = "",
    status: StatusQuery = [],  # noqa: B006
    recipient: Annotated[str | None, equality_query("parent@example.com")] = None,
    message_id: Annotated[str | None, equality_query("m-2041")] = None,
    record_type: Annotated[str | None, equality_query("family")] = None,
    record_id: Annotated[str | None, equality_query("F-1162")] = None,
    campaign: Annotated[str | None, equality_query("autumn")] = None,
    provider: Annotated[str | None, equality_query("ses")] = None,
    sort: Annotated[SortColumn, Query(description="By what; then the newest first")] = "date",
    order: Annotated[
        SortOrder | None,
        Query(description="Default: desc by date, asc by the others", examples=["asc"]),
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
        UtcTime | None,
        Query(
            description="The log as it was at this time (UTC if no zone)",
            examples=["2026-11-24T10:00:00Z"],
        ),
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
            detail = Words(
                "no column %(name)r; there are: %(names)s",
                name=column[:100], names=", ".join(log.columns),
            )  # fmt: skip
            raise invalid_parameter("filter", detail)
        kind = base_type(log.columns[column].kind)
        try:
            value = check_filter(log, filter_)
        except OverflowError:
            detail = Words("the time of %(column)r is out of range", column=column)
            raise invalid_parameter("filter", detail) from None
        in_range = True
        if isinstance(value, datetime):
            in_range = MIN_EVENT_TIME <= value < MAX_EVENT_TIME
        elif isinstance(value, int) and kind.startswith("UInt"):
            in_range = 0 <= value < 2 ** int(kind.removeprefix("UInt"))
        if not in_range:
            detail = Words("the value of %(column)r is out of range", column=column)
            raise invalid_parameter("filter", detail)


RequestedLog = Annotated[LogQuery, Depends(log_query)]
