"""A question about a log, read off a request: filters, search, order, place and point in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query

from projections.clickhouse.sql import Bound
from projections.expressions import plain
from projections.queries.listing import OPERATORS, After, Clock, Filter, Listing, after, condition
from projections.queries.page import LARGEST_PAGE
from projections.queries.page import listing as listed
from projections.queries.search import SEARCHED, searched
from projections.tables import log_of
from projections.web.auth import Asker, Reading
from projections.web.cursor import decode, encode
from projections.web.params import ChannelPath, Instant
from projections.web.problems import wrong
from schemas.addresses import normalised
from schemas.events import EARLIEST, EPOCH, LATEST, Channel, milliseconds

Sort = Literal["date", "recipient", "status"]
Order = Literal["asc", "desc"]
Equal = Annotated[str | None, Query(max_length=1000, description="Rows with this value exactly")]
FilterQuery = Annotated[
    list[Annotated[str, Query(max_length=1000)]],
    Query(
        max_length=20,
        description="A condition on any column of the log, COLUMNoperatorVALUE with one of "
        f"`{' '.join(OPERATORS)}`, where ~ means contains; may be repeated, and all must hold",
        examples=["subject~invoice", "open_count>=2"],
    ),
]
SearchQuery = Annotated[
    str,
    Query(
        max_length=200,
        description="Rows with this text, in upper or lower case, in any of: "
        + "; ".join(f"{channel}: {', '.join(names)}" for channel, names in SEARCHED.items()),
        examples=["invoice"],
    ),
]
#: Times in a cursor are whole milliseconds; this is what a cursor of a listing holds.
_PLACE: Final = (str, int, str, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which rows of a log are asked for, before order and place."""

    asker: Asker
    channel: Channel
    filters: tuple[Filter, ...] = ()
    search: str = ""
    sort: Sort = "date"
    descending: bool = True
    as_of: datetime | None = None
    clock: Clock = "occurred"

    def listing(self, *, limit: int, last: After | None = None) -> Listing:
        """Return the page of so many rows, after a row."""
        return Listing(
            channel=self.channel, tenant=self.asker.tenant, filters=self.filters, sort=self.sort,
            descending=self.descending, limit=limit, as_of=self.as_of, clock=self.clock,
            after=last,
        )  # fmt: skip

    def rows(self, *, limit: int, last: After | None = None) -> list[dict[str, Any]]:
        """Return the rows of a page. Raises `QueryError` and `ProblemError`."""
        reader = self.asker.parts.reader
        wanted = self.listing(limit=limit, last=last)
        with reader.asking() as client:
            if self.search:
                return searched(client, reader.name, wanted, self.search)
            return list(listed(client, reader.name, wanted))

    def page(self, *, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Return the rows of a page, and the cursor of the next unless it is the last."""
        last = None if cursor is None else self._place(cursor)
        # One more tells whether there are more, except where it would make of a page an export.
        size = min(limit + 1, LARGEST_PAGE)
        rows = self.rows(limit=size, last=last)
        if len(rows) < size:
            return rows, None
        return rows[:limit], self._cursor(rows[limit - 1])

    def _identity(self) -> object:
        return replace(self.listing(limit=0), filters=tuple(self.filters)), self.search

    def _cursor(self, row: dict[str, Any]) -> str:
        last = after(self.listing(limit=0), row)
        value = "" if isinstance(last.value, datetime) else last.value
        return encode(
            self._identity(), [value, milliseconds(last.date), last.message_id, last.recipient]
        )

    def _place(self, cursor: str) -> After:
        value, at, message_id, recipient = decode(self._identity(), cursor, _PLACE)
        date = moment_of(at)
        return After(date if self.sort == "date" else str(value), date, str(message_id),
                     str(recipient))  # fmt: skip


def moment_of(milliseconds_since: object) -> datetime:
    """Return the time of a cursor. Raises a 422 problem for none that a log can have."""
    latest = milliseconds(LATEST)
    if not isinstance(milliseconds_since, int) or not -latest < milliseconds_since < latest:
        raise wrong("cursor", "none of this question")
    return EPOCH + timedelta(milliseconds=milliseconds_since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the parameters of a request give, but for the point in time; not looked at yet."""

    channel: Channel
    conditions: Sequence[str]
    search: str
    equal: Mapping[str, str | None]
    sort: Sort
    order: Order | None
    clock: Clock

    def question(self, asker: Asker, as_of: datetime | None) -> Question:
        """Return the question of a bearer. Raises `QueryError` and a 422 for a wrong filter."""
        equal = {name: value for name, value in self.equal.items() if value is not None}
        if "recipient" in equal:
            equal["recipient"] = normalised(self.channel, equal["recipient"])
        filters = [Filter(name, "=", value) for name, value in equal.items()]
        filters += [Filter.parse(text) for text in self.conditions]
        known(self.channel, filters)
        return Question(
            asker=asker, channel=self.channel, filters=tuple(filters), search=self.search.strip(),
            sort=self.sort, as_of=as_of, clock=self.clock,
            descending=self.order == "desc" if self.order else self.sort == "date",
        )  # fmt: skip


def given(
    channel: ChannelPath,
    filter: FilterQuery = [],  # noqa: A002, B006 the name of the parameter; FastAPI copies it
    q: SearchQuery = "",
    status: Equal = None,
    recipient: Equal = None,
    message_id: Equal = None,
    record_type: Equal = None,
    record_id: Equal = None,
    campaign: Equal = None,
    provider: Equal = None,
    sort: Annotated[Sort, Query(description="By what; then the newest first")] = "date",
    order: Annotated[
        Order | None, Query(description="Default: desc by date, asc by the others")
    ] = None,
    clock: Annotated[
        Clock, Query(description="`as_of` by what had occurred, or had been recorded")
    ] = "occurred",
) -> Given:
    """Read off the parameters of a request what is asked about a log."""
    equal = {
        "status": status, "recipient": recipient, "message_id": message_id,
        "record_type": record_type, "record_id": record_id, "campaign": campaign,
        "provider": provider,
    }  # fmt: skip
    return Given(
        channel=channel, conditions=filter, search=q, equal=equal, sort=sort, order=order,
        clock=clock,
    )  # fmt: skip


Giving = Annotated[Given, Depends(given)]


def question(
    asker: Reading,
    given: Giving,
    as_of: Annotated[
        Instant | None, Query(description="The log as it was at this time (UTC if no zone)")
    ] = None,
) -> Question:
    """Read a question off the parameters of a request. Raises as `Given.question` does."""
    return given.question(asker, as_of)


def known(channel: Channel, filters: Sequence[Filter]) -> None:
    """Refuse a column that there is not, and a value that it cannot have.

    Raises a 422 problem or a `QueryError`.
    """
    log = log_of(channel)
    for each in filters:
        if each.column not in log.readings:
            raise wrong(
                "filter", f"no column {each.column[:100]!r}; there are: {', '.join(log.readings)}"
            )
        bound, kind = Bound(), plain(log.readings[each.column].kind)
        try:
            condition(log, each, bound)
        except OverflowError:
            raise wrong("filter", f"the time of {each.column!r} is out of range") from None
        [value] = bound.values.values()
        whole = isinstance(value, int) and kind.startswith("UInt")
        if (whole and not 0 <= value < 2 ** int(kind.removeprefix("UInt"))) or (
            isinstance(value, datetime) and not EARLIEST <= value < LATEST
        ):
            raise wrong("filter", f"the value of {each.column!r} is out of range")


Asked = Annotated[Question, Depends(question)]
