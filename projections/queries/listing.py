"""Listings: which rows of a log, in which order; as one SELECT over the whole of a tenant's log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from projections.clickhouse.ddl import fold_select, log_select
from projections.clickhouse.sql import Condition, Parameters, Query
from projections.column_types import STRING, TIME, base_type
from projections.tables import Projection, log_of
from projections.tables.events import TABLE as EVENTS
from schemas.addresses import address_parts, normalise_address
from schemas.errors import ExplainedError
from schemas.events import Channel
from schemas.words import Words

Clock = Literal["occurred", "recorded"]
#: How a listing may be sorted, by the words of the page: each by itself, then newest first.
SORTS: Final = ("date", "recipient", "status")
FILTER_OPERATORS: Final = ("!=", ">=", "<=", "=", "~", "<", ">")
CONTAINS: Final = "~"
#: Any of several values, for filters made of repeated parameters; people write no such operator.
ONE_OF: Final = "in"
_CHOICE_SEPARATOR: Final = "|"
#: Columns of texts that people ask for by their exact value.
EQUALITY_COLUMNS: Final = (
    "status", "recipient", "message_id", "record_type", "record_id", "campaign", "provider",
)  # fmt: skip


class QueryError(ExplainedError, ValueError):
    """A question that cannot be asked; the text names what is wrong and what there is."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on one column: `=`, `!=`, `<`, `<=`, `>`, `>=`, or `~` for "contains".

    Or `ONE_OF`, of several statuses.
    """

    column: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Read "status=Bounce", "subject~invoice" or "date>=2026-11-01".

        Raises `QueryError` if there is no operator in it.
        """
        places = [(text.find(op), -len(op), op) for op in FILTER_OPERATORS if op in text]
        if not places:
            raise QueryError(
                Words(
                    "filter %(text)r has no operator; write COLUMN=VALUE, "
                    "with one of %(operators)s",
                    text=text,
                    operators=" ".join(FILTER_OPERATORS),
                )
            )
        operator = min(places)[2]
        column, _, value = text.partition(operator)
        return cls(column.strip(), operator, value.strip())

    @classmethod
    def of_statuses(cls, log: Projection, statuses: Collection[str]) -> Filter:
        """Return the filter by some statuses of a log: those together, in the order of its rules.

        Raises `QueryError` for one that the log does not have, and names those that it has.
        """
        for status in statuses:
            _check_status(log, status)
        ordered = [status for status in statuses_of(log) if status in statuses]
        operator = "=" if len(ordered) == 1 else ONE_OF
        return cls("status", operator, _CHOICE_SEPARATOR.join(ordered))

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of which the column has one, of `=` and `ONE_OF`."""
        values = self.value.split(_CHOICE_SEPARATOR) if self.operator == ONE_OF else [self.value]
        return tuple(values)

    def normalised(self, channel: Channel, region: str = "") -> Filter:
        """Return the filter with a recipient in its normal form (`schemas.addresses`)."""
        if self.column != "recipient" or self.operator == CONTAINS:
            return self
        return replace(self, value=normalise_address(channel, self.value, region))


def statuses_of(log: Projection) -> tuple[str, ...]:
    """Return the statuses of a log, in the order of its rules."""
    return tuple(dict.fromkeys(rule.status for rule in log.rules))


def _check_status(log: Projection, status: str) -> None:
    there = statuses_of(log)
    if status not in there:
        takes = Words(
            "takes one of %(statuses)s; not %(status)r",
            statuses=", ".join(there), status=status[:100],
        )  # fmt: skip
        raise QueryError(Words("column 'status' %(takes)s", takes=takes))


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
    been recorded by then. `after` is the last row of the page before (see `place_of`): whatever
    comes in between, a row that keeps its place is on one page of a walk, and on one only. A
    `backward` listing has its rows the other way round: after a row are those before it.
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
    backward: bool = False

    @property
    def goes_down(self) -> bool:
        """Whether what the listing is sorted by gets smaller from row to row."""
        return self.descending != self.backward

    @property
    def goes_back_in_time(self) -> bool:
        """Whether rows of the same recipient or status get older from row to row."""
        return self.goes_down if self.sort == "date" else not self.backward


def listing_sql(listing: Listing, database: str) -> tuple[str, dict[str, Any]]:
    """Return the query of a listing and its bound values.

    Raises `QueryError` for an unknown column, sort or a value that its column cannot have.
    """
    query, source, order = _listing_query(listing, database)
    return listing_select(source, query, order, listing.limit), query.values


def searching_sql(
    listing: Listing,
    database: str,
    search: Callable[[Query], str],
    source: Callable[[Query], str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Return the query of a listing, of the rows of which a search holds, too, and its values.

    `source` makes the SELECT of the rows to list, rather than all of the log; of a log as it was it
    is not used. Raises `QueryError` as `listing_sql` does.
    """
    query, whole, order = _listing_query(listing, database)
    query.add(search(query))
    if source is not None and listing.as_of is None:
        whole = f"({source(query)})"
    return listing_select(whole, query, order, listing.limit), query.values


def _listing_query(listing: Listing, database: str) -> tuple[Query, str, str]:
    """Return the conditions of a listing, what it is read from, and its order."""
    log, order, query = log_of(listing.channel), order_by(listing), Query(listing.tenant)
    for filter_ in listing.filters:
        query.add(filter_condition(log, filter_, query))
    if listing.after is not None:
        query.add(after_condition(listing, listing.after, query))
    if listing.as_of is None:
        return query, f"{database}.{log.name}", order
    until = query.bind(_utc(listing.as_of), TIME)
    where = f"{query.of_tenant} AND {listing.clock}_at <= {until}"
    folded = f"({fold_select(log, f'{database}.{EVENTS.name}', where)})"
    return query, f"({log_select(log, folded)})", order


def listing_select(source: str, query: Query, order: str, limit: int) -> str:
    """Return the SELECT of the first rows of a source that a query asks for."""
    return f"SELECT * FROM {source} WHERE {query.where} ORDER BY {order} LIMIT {int(limit)}"


def order_by(listing: Listing) -> str:
    """Return the order of a listing. Raises `QueryError` for an unknown one."""
    if listing.sort not in SORTS:
        raise QueryError(
            Words(
                "cannot sort by %(sort)r; sort by %(sorts)s",
                sort=listing.sort,
                sorts=", ".join(SORTS),
            )
        )
    direction = "DESC" if listing.goes_down else "ASC"
    in_time = "DESC" if listing.goes_back_in_time else "ASC"
    by_key = "DESC" if listing.backward else "ASC"
    by_date = f"date {in_time}, message_id {by_key}, recipient {by_key}"
    return by_date if listing.sort == "date" else f"{listing.sort} {direction}, {by_date}"


def place_of(listing: Listing, row: Mapping[str, Any]) -> After:
    """Return the place of a row of a listing, for `Listing.after` of the page that follows it."""
    value = row[listing.sort]
    return After(value, row["date"], row["message_id"], row["recipient"])


def after_condition(listing: Listing, last: After, parameters: Parameters) -> str:
    """Return the condition that a row comes after another, in the order of `order_by`."""
    bind = parameters.bind
    date = bind(_utc(last.date), TIME)
    message, recipient = bind(last.message_id, STRING), bind(last.recipient, STRING)
    sign = "<" if listing.goes_down else ">"
    by_date = "<" if listing.goes_back_in_time else ">"
    by_key = "<" if listing.backward else ">"
    rest = (
        f"(date {by_date} {date} OR "
        f"(date = {date} AND (message_id, recipient) {by_key} ({message}, {recipient})))"
    )
    if listing.sort == "date":
        return rest
    value = bind(last.value, STRING)
    return f"({listing.sort} {sign} {value} OR ({listing.sort} = {value} AND {rest}))"


def check_filter(log: Projection, filter_: Filter) -> datetime | str | int | bool:
    """Return the value of a filter as its column has it.

    Raises `QueryError` for an unknown column or a value that it cannot have, and `OverflowError`
    for a time that no zone has.
    """
    parameters = Parameters()
    filter_condition(log, filter_, parameters)
    value, *_ = parameters.values.values()
    return value  # type: ignore[no-any-return]


def filter_condition(
    log: Projection, filter_: Filter, parameters: Parameters, *, of: str = ""
) -> Condition:
    """Return the condition of a filter, on its column or on what stands for it (`of`).

    Raises `QueryError` for an unknown column, or a value that the column cannot have.
    """
    column = log.columns.get(filter_.column)
    if column is None:
        raise QueryError(
            Words(
                "no column %(name)r in %(log)s; there are: %(names)s",
                name=filter_.column,
                log=log.name,
                names=", ".join(log.columns),
            )
        )
    name, kind = of or filter_.column, base_type(column.kind)
    if filter_.column == "status" and filter_.operator in {"=", "!="}:
        _check_status(log, filter_.value)
    if filter_.operator == CONTAINS:
        text = name if kind == STRING else f"toString({name})"
        if filter_.column == "recipient":
            return Condition(has_address_part(log.channel, text, filter_.value, parameters), True)
        return _contains(text, filter_.value, parameters)
    if filter_.operator == ONE_OF:
        return Condition(f"has({parameters.bind(list(filter_.choices), f'Array({kind})')}, {name})")
    if kind.startswith("Array("):
        has = f"has({name}, {parameters.bind(filter_.value, STRING)})"
        conditions = {"=": has, "!=": f"NOT {has}"}
        if filter_.operator not in conditions:
            raise QueryError(
                Words("column %(name)r is a list; it takes =, != and ~", name=filter_.column)
            )
        return Condition(conditions[filter_.operator])
    value = parameters.bind(_value(filter_, kind), kind)
    return Condition(f"{name} {filter_.operator} {value}")


def has_address_part(channel: Channel, text: str, part: str, parameters: Parameters) -> str:
    """Return the condition that an address in its normal form has a part in it.

    It is lower-cased already, and searched as it is (E-073).
    """
    parts = address_parts(channel, part)
    has = (f"position({text}, {parameters.bind(each, STRING)}) > 0" for each in parts)
    return f"({' OR '.join(has)})"


def _contains(text: str, value: str, parameters: Parameters) -> Condition:
    """Return the condition that a text has another in it, in letters of either case.

    Letters of all scripts take longer (E-068).
    """
    case = "CaseInsensitive" if value.isascii() else "CaseInsensitiveUTF8"
    sql = f"position{case}({text}, {parameters.bind(value, STRING)}) > 0"
    return Condition(sql, is_search=True)


def _value(filter_: Filter, kind: str) -> Any:
    try:
        if kind.startswith("DateTime"):
            return _utc(datetime.fromisoformat(filter_.value))
        if kind.startswith("UInt"):
            return int(filter_.value)
        if kind == "Bool":
            return {"true": True, "false": False}[filter_.value.lower()]
    except (KeyError, ValueError):
        takes = {
            "D": Words("a date or time, as 2026-11-24T10:00"), "U": Words("a whole number"),
        }.get(kind[0], Words("true or false"))  # fmt: skip
        raise QueryError(
            Words(
                "column %(name)r takes %(takes)s; not %(value)r",
                name=filter_.column,
                takes=takes,
                value=filter_.value,
            )
        ) from None
    return filter_.value


def _utc(time: datetime) -> datetime:
    """Return a time in UTC; one without a zone is UTC already."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
