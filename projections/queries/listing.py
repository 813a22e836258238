"""Questions asked of the logs: listings with filters on every column, and a message's timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from projections.clickhouse.ddl import fold_select, reading_select
from projections.clickhouse.sql import Bound
from projections.expressions import TIME, plain
from projections.tables import Projection, log_of
from projections.tables.events import TABLE as EVENTS
from schemas.errors import ExplainedError
from schemas.events import Channel

Clock = Literal["occurred", "recorded"]
#: How a listing may be sorted, by the words of the page: each by itself, then newest first.
SORTS: Final = ("date", "recipient", "status")
OPERATORS: Final = ("!=", ">=", "<=", "=", "~", "<", ">")
#: How a condition begins that searches a text for another.
SEARCH: Final = "position"


class QueryError(ExplainedError, ValueError):
    """A question that cannot be asked; the text names what is wrong and what there is."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on one column: `=`, `!=`, `<`, `<=`, `>`, `>=`, or `~` for "contains"."""

    column: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Read "status=Bounce", "subject~invoice" or "date>=2026-11-01".

        Raises `QueryError` if there is no operator in it.
        """
        places = [(text.find(op), -len(op), op) for op in OPERATORS if op in text]
        if not places:
            raise QueryError(
                f"filter {text!r} has no operator; write COLUMN=VALUE, with one of "
                f"{' '.join(OPERATORS)}"
            )
        operator = min(places)[2]
        column, _, value = text.partition(operator)
        return cls(column.strip(), operator, value.strip())


class After(NamedTuple):
    """The last row of a page: the next begins strictly after it, in the order of its listing.

    `value` is what the row has in the column sorted by: of a listing by date, its `date` again.
    """

    value: datetime | str
    date: datetime
    message_id: str
    recipient: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page of a log of one tenant.

    `as_of` shows the log as it was: of what had happened by then (`clock` occurred), or of what had
    been recorded by then. `after` is the last row of the page before (see the function `after`):
    whatever comes in between, a row that keeps its place is on one page of a walk, and on one only.
    """

    channel: Channel
    tenant: str
    filters: Sequence[Filter] = ()
    sort: str = "date"
    descending: bool = True
    limit: int = 50
    as_of: datetime | None = None
    clock: Clock = "occurred"
    after: After | None = None


def listing_sql(listing: Listing, database: str) -> tuple[str, dict[str, Any]]:
    """Return the query of a listing and its bound values.

    Raises `QueryError` for an unknown column, sort or a value that its column cannot have.
    """
    log = log_of(listing.channel)
    order = ordering(listing)
    bound = Bound()
    tenant = bound.bind(listing.tenant, "String")
    bound.conditions.append(f"tenant_id = {tenant}")
    for each in listing.filters:
        bound.conditions.append(condition(log, each, bound))
    if listing.after is not None:
        bound.conditions.append(later(listing, listing.after, bound))
    if listing.as_of is None:
        source = f"{database}.{log.name}"
    else:
        until = bound.bind(_utc(listing.as_of), "DateTime64(3, 'UTC')")
        where = f"tenant_id = {tenant} AND {listing.clock}_at <= {until}"
        folded = f"({fold_select(log, f'{database}.{EVENTS.name}', where)})"
        source = f"({reading_select(log, folded)})"
    sql = f"SELECT * FROM {source} WHERE {bound.where} ORDER BY {order} LIMIT {int(listing.limit)}"
    return sql, bound.values


def ordering(listing: Listing) -> str:
    """Return the order of a listing. Raises `QueryError` for an unknown one."""
    if listing.sort not in SORTS:
        raise QueryError(f"cannot sort by {listing.sort!r}; sort by {', '.join(SORTS)}")
    direction = "DESC" if listing.descending else "ASC"
    by_date = f"date {direction if listing.sort == 'date' else 'DESC'}, message_id, recipient"
    return by_date if listing.sort == "date" else f"{listing.sort} {direction}, {by_date}"


def after(listing: Listing, row: Mapping[str, Any]) -> After:
    """Return the place of a row of a listing, for `Listing.after` of the page that follows it."""
    value = row[listing.sort]
    return After(value, row["date"], row["message_id"], row["recipient"])


def later(listing: Listing, last: After, bound: Bound) -> str:
    """Return the condition that a row comes after another, in the order of `ordering`."""
    date = bound.bind(_utc(last.date), TIME)
    message, recipient = bound.bind(last.message_id, "String"), bound.bind(last.recipient, "String")
    sign = "<" if listing.descending else ">"
    by_date = sign if listing.sort == "date" else "<"
    rest = (
        f"(date {by_date} {date} OR "
        f"(date = {date} AND (message_id, recipient) > ({message}, {recipient})))"
    )
    if listing.sort == "date":
        return rest
    value = bound.bind(last.value, "String")
    return f"({listing.sort} {sign} {value} OR ({listing.sort} = {value} AND {rest}))"


def condition(log: Projection, wanted: Filter, bound: Bound, *, of: str = "") -> str:
    """Return the condition of a filter, on its column or on what stands for it (`of`).

    Raises `QueryError` for an unknown column, or a value that the column cannot have.
    """
    reading = log.readings.get(wanted.column)
    if reading is None:
        raise QueryError(
            f"no column {wanted.column!r} in {log.name}; there are: {', '.join(log.readings)}"
        )
    name, kind = of or wanted.column, plain(reading.kind)
    if wanted.operator == "~":
        text = name if kind == "String" else f"toString({name})"
        return _contains(text, wanted, bound)
    if kind.startswith("Array("):
        has = f"has({name}, {bound.bind(wanted.value, 'String')})"
        return {"=": has, "!=": f"NOT {has}"}.get(wanted.operator) or _refuse(wanted)
    value = bound.bind(_value(wanted, kind), kind)
    return f"{name} {wanted.operator} {value}"


def _contains(text: str, wanted: Filter, bound: Bound) -> str:
    """Return the condition that a text has another in it, in letters of either case.

    A recipient is lower-cased already, and to search it as it is takes two thirds of the time; in
    letters of all scripts it would take a fifth more.
    """
    value, ways = wanted.value, "CaseInsensitive"
    if not value.isascii():
        ways = "CaseInsensitiveUTF8"
    elif wanted.column == "recipient":
        value, ways = value.lower(), ""
    return f"{SEARCH}{ways}({text}, {bound.bind(value, 'String')}) > 0"


def _refuse(wanted: Filter) -> str:
    raise QueryError(f"column {wanted.column!r} is a list; it takes =, != and ~")


def _value(wanted: Filter, kind: str) -> Any:
    try:
        if kind.startswith("DateTime"):
            return _utc(datetime.fromisoformat(wanted.value))
        if kind.startswith("UInt"):
            return int(wanted.value)
        if kind == "Bool":
            return {"true": True, "false": False}[wanted.value.lower()]
    except (KeyError, ValueError):
        takes = {"D": "a date or time, as 2026-11-24T10:00", "U": "a whole number"}
        raise QueryError(
            f"column {wanted.column!r} takes {takes.get(kind[0], 'true or false')}; "
            f"not {wanted.value!r}"
        ) from None
    return wanted.value


def _utc(time: datetime) -> datetime:
    """Return a time in UTC; one without a zone is UTC already."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
