"""A page of a log at any size: candidates first, then the fold of those few.

A message's date is that of its first fact, so no partial state of it is dated earlier than the
message. Hence, going back in time, the N latest partial states are of all messages later than the
last of them: fold these, keep what the filters keep, and if that is no page yet, take more. What a
filter needs, at least one partial state of the message shows (`status.trace`), so that rare things
are found by one scan of the columns in question, without folding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from projections.ddl import merging_select, reading_select
from projections.merge import LARGEST
from projections.queries import (
    Bound,
    Filter,
    Listing,
    condition,
    listing_sql,
    log_of,
    ordering,
    stream,
)
from projections.status import read, trace
from projections.tables import KEY, Projection
from schemas.events import EPOCH

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Key = tuple[str, str]  # recipient, message_id
Row = dict[str, Any]

#: Pages up to this are found by candidates; a longer listing is an export, and folds the tenant.
LARGEST_PAGE: Final = 1000
#: So many candidates are folded at once whatever the order asked for.
_FEW: Final = 1000
#: So many are read whole, and chosen from here, if the filters only ask whether texts are equal.
_READ: Final = 200
_EQUAL: Final = frozenset({"recipient", "message_id", "status", "record_type", "record_id"})
#: Messages that show what a filter asks, up to which their keys are worth a set of their own.
_RARE: Final = 200_000
_GROWTH: Final = 8
_FIRST_ITEM: Final = re.compile(r"tupleElement\((\w+), \d+\)")


def listing(client: Client, database: str, wanted: Listing) -> Iterator[Row]:
    """Yield the rows of a listing, by column name. Raises `QueryError` as `listing_sql` does."""
    if wanted.as_of is None and wanted.limit <= LARGEST_PAGE:
        yield from page(client, database, wanted)
    else:
        yield from stream(client, *listing_sql(wanted, database))


def page(client: Client, database: str, wanted: Listing) -> list[Row]:
    """Return the first rows of a listing, at most `wanted.limit`, as people see them.

    Raises `QueryError` as `listing_sql` does, and ClickHouse's errors.
    """
    return _Page(client, database, wanted).rows()


@dataclass(frozen=True, slots=True)
class _Page:
    """One question under way."""

    client: Client
    database: str
    wanted: Listing

    @property
    def log(self) -> Projection:
        return log_of(self.wanted.channel)

    @property
    def states(self) -> str:
        return f"{self.database}.{self.log.state_table}"

    @property
    def direction(self) -> str:
        return "DESC" if self.wanted.descending else "ASC"

    def rows(self) -> list[Row]:
        """Return the page."""
        few = self._few()
        if few is not None and len(few) <= _READ and all(_plain(f) for f in self.wanted.filters):
            return self._chosen(self._read(few))
        if few is not None:
            keys = [key for key, _ in self._folded(few)]
        elif self.wanted.sort == "recipient":
            keys = list(_first(self._by_recipient(), self.wanted.limit))
        elif self.wanted.sort == "status":
            keys = list(_first(self._by_status(), self.wanted.limit))
        else:
            keys = list(_first(self.by_date(), self.wanted.limit))
        return self._read(keys[: self.wanted.limit])

    def _few(self) -> list[Key] | None:
        """Return all messages that the filters may keep, unless there are many."""
        if not self.wanted.filters:
            return None
        bound = self._bound()
        self._narrow(bound)
        found = self._query(
            f"SELECT DISTINCT recipient, message_id FROM {self.states} "
            f"WHERE {bound.where} LIMIT {_FEW + 1}",
            bound,
        )
        return [(row[0], row[1]) for row in found] if len(found) <= _FEW else None

    def _chosen(self, rows: list[Row]) -> list[Row]:
        """Return those of a few rows that the filters keep, in order: a query less."""
        kept = [
            row for row in rows
            if all(row[each.column] == each.value for each in self.wanted.filters)
        ]  # fmt: skip
        kept.sort(key=lambda row: (row["message_id"], row["recipient"]))
        by, down = self.wanted.sort, self.wanted.descending
        kept.sort(key=lambda row: row["date"], reverse=down or by != "date")
        if by != "date":
            kept.sort(key=lambda row: row[by], reverse=down)
        return kept[: self.wanted.limit]

    def by_date(self) -> Iterator[Key]:
        """Yield keys in order of date, in rounds of more and more candidates."""
        number, yielded = 2 * self.wanted.limit, set[Key]()
        while True:
            bound = self._bound()
            self._narrow(bound, in_order=True)
            found = self._query(
                f"SELECT recipient, message_id, first_at FROM {self.states} "
                f"WHERE {bound.where} ORDER BY first_at {self.direction} LIMIT {number}",
                bound,
            )
            everything = len(found) < number
            last: datetime = found[-1][2] if found else EPOCH
            for key, date in self._folded([(row[0], row[1]) for row in found]):
                # What is dated as the last candidate may have others beside it.
                safe = everything or (date > last if self.wanted.descending else date < last)
                if safe and key not in yielded:
                    yielded.add(key)
                    yield key
            if everything:
                return
            number *= _GROWTH

    def _by_recipient(self) -> Iterator[Key]:
        """Yield keys in order of recipient: all messages of some recipients, then of the next."""
        number, after = 2 * self.wanted.limit, None
        while True:
            bound = self._bound()
            self._narrow(bound)
            if after is not None:
                sign = "<" if self.wanted.descending else ">"
                bound.conditions.append(f"recipient {sign} {bound.bind(after, 'String')}")
            found = self._query(
                f"SELECT recipient FROM {self.states} WHERE {bound.where} "
                f"ORDER BY tenant_id {self.direction}, recipient {self.direction} LIMIT {number}",
                bound,
            )
            recipients = list(dict.fromkeys(row[0] for row in found))
            if recipients:
                folding = self._bound()
                folding.conditions.append(
                    f"recipient IN {folding.bind(recipients, 'Array(String)')}"
                )
                yield from (key for key, _ in self._kept(folding))
                after = recipients[-1]
            if len(found) < number:
                return
            number *= _GROWTH

    def _by_status(self) -> Iterator[Key]:
        """Yield keys in order of status: of each status those that a listing by date gives."""
        statuses = sorted({rule.status for rule in self.log.rules}, reverse=self.wanted.descending)
        for status in statuses:
            filters = (*self.wanted.filters, Filter("status", "=", status))
            of_status = replace(self.wanted, filters=filters, sort="date", descending=True)
            yield from replace(self, wanted=of_status).by_date()

    def _bound(self) -> Bound:
        bound = Bound()
        bound.conditions.append(f"tenant_id = {bound.bind(self.wanted.tenant, 'String')}")
        return bound

    def _narrow(self, bound: Bound, *, in_order: bool = False) -> None:
        """Add what the candidates must show, so that none is lost that the filters keep."""
        traces = []
        late = []
        for each in self.wanted.filters:
            if each.column in KEY:
                bound.conditions.append(condition(self.log, each, bound))
            elif each.column == "date" and each.operator in {">", ">="}:
                # Every partial state is dated as late as the message, or later.
                bound.conditions.append(condition(self.log, each, bound, of="first_at"))
            elif each.column == "date" and each.operator in {"<", "<=", "="}:
                late.append(each)
            elif (found := _trace(self.log, each)) is not None:
                traces.append(found)
        # The partial state that shows it may be later than the message; the first of all is not.
        apart = in_order and (bool(late) or not self.wanted.descending)
        if late and (apart or not traces):
            bound.conditions += [condition(self.log, each, bound, of="first_at") for each in late]
        for found in traces[:1]:
            shown = found(bound)
            if apart:
                self._among(bound, shown)
            else:
                bound.conditions.append(shown)

    def _among(self, bound: Bound, shown: str) -> None:
        """Keep candidates whose message shows it in any partial state, if these are not many."""
        tenant = bound.conditions[0]
        alike = f"FROM {self.states} WHERE {tenant} AND {shown}"
        count = self._query(f"SELECT count() FROM (SELECT 1 {alike} LIMIT {_RARE + 1})", bound)
        if count[0][0] <= _RARE:
            bound.conditions.append(
                f"(recipient, message_id) IN (SELECT recipient, message_id {alike})"
            )

    def _folded(self, keys: Sequence[Key]) -> list[tuple[Key, datetime]]:
        """Return those of some messages that the filters keep, in order, with their dates."""
        if not keys:
            return []
        bound = self._bound()
        bound.conditions.append(_these(bound, keys))
        return self._kept(bound)

    def _kept(self, bound: Bound) -> list[tuple[Key, datetime]]:
        states = merging_select(self.log, self.states, bound.where)
        kept = [condition(self.log, each, bound) for each in self.wanted.filters]
        sql = (
            f"SELECT recipient, message_id, date FROM ({reading_select(self.log, f'({states})')}) "
            f"WHERE {' AND '.join(kept or ['true'])} ORDER BY {ordering(self.wanted)}"
        )
        return [((row[0], row[1]), row[2]) for row in self._query(sql, bound)]

    def _read(self, keys: Sequence[Key]) -> list[Row]:
        """Return the rows of some messages, in the order of their keys."""
        if not keys:
            return []
        bound = self._bound()
        bound.conditions.append(_these(bound, keys))
        found = self.client.query(
            merging_select(self.log, self.states, bound.where),
            parameters=bound.values,
            query_formats={"Tuple": "tuple"},
        )
        rows = {}
        for values in found.result_rows:
            state = dict(zip(found.column_names, values, strict=True))
            key = {name: state[name] for name in KEY}
            rows[state["recipient"], state["message_id"]] = read(self.log, key, state)
        return [rows[key] for key in keys if key in rows]

    def _query(self, sql: str, bound: Bound) -> Sequence[Sequence[Any]]:
        return self.client.query(sql, parameters=bound.values).result_rows


def _plain(wanted: Filter) -> bool:
    return wanted.operator == "=" and wanted.column in _EQUAL


def _these(bound: Bound, keys: Sequence[Key]) -> str:
    placeholder = bound.bind(list(keys), "Array(Tuple(String, String))")
    return f"(recipient, message_id) IN {placeholder}"


def _trace(log: Projection, wanted: Filter) -> Any:
    """Return what makes the condition that some partial state fulfils, or None if there is none."""
    if wanted.operator == "=" and wanted.column == "status":
        return lambda _: trace(log, wanted.value).sql
    reading = log.readings.get(wanted.column)
    latest = _FIRST_ITEM.fullmatch(reading.sql) if reading is not None else None
    if latest is None or wanted.operator not in {"=", "~"} or not wanted.value:
        return None
    fold = next((fold for fold in log.folds if fold.name == latest[1]), None)
    if fold is None or fold.operator is not LARGEST:
        return None
    # The largest of all is the largest of one of them.
    return lambda bound: condition(log, wanted, bound, of=latest[0])


def _first(keys: Iterator[Key], limit: int) -> Iterator[Key]:
    for _, key in zip(range(limit), keys, strict=False):
        yield key
