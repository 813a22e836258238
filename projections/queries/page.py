"""A page of a log at any size: candidates first, then the fold of those few.

A message's date is that of its first event, so no partial state of it is dated earlier than the
message. Hence, going back in time, the N latest partial states are of all messages later than the
last of them: fold these, keep what the filters keep, and if that is no page yet, take the next.
What a filter needs, at least one partial state of the message shows (`candidates`), so that rare
things are found by one scan of the columns in question, without folding.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from itertools import accumulate, islice, takewhile
from typing import TYPE_CHECKING, Any, Final

from projections.clickhouse.ddl import KEY_HASH_SQL, merge_select
from projections.clickhouse.sql import Query, sent_along, stream
from projections.ordered_bytes import unpack
from projections.presence import PRESENCE, possible_folds, with_presence_bits
from projections.queries.candidates import Candidate, Candidates, MessageKey
from projections.queries.listing import (
    CONTAINS,
    ONE_OF,
    Filter,
    Listing,
    after_condition,
    filter_condition,
    listing_sql,
    order_by,
)
from projections.queries.pruned_select import pruned_select
from projections.queries.record_index import all_messages_of, record_of
from projections.queries.tuning import DEFAULT_TUNING, Tuning
from projections.status import read_row
from projections.tables import KEY

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LogRow = dict[str, Any]
#: Candidates that come next by date, and up to when there are no others; None: to the end.
_Round = tuple[list[Candidate], datetime | None]

#: Pages up to this are found by candidates; a longer listing is an export, and folds the tenant.
MAX_PAGE_ROWS: Final = 1000
#: Columns of texts of which a value usually stands in few messages; and the status, of any.
_FEW_MESSAGES_COLUMNS: Final = frozenset(
    {"recipient", "message_id", "status", "record_type", "record_id"}
)
_ALL_BITS: Final = ~0
_COMPARISONS: Final = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip


class _FallBackToFullFoldError(Exception):
    """So many candidates were looked at that folding all of them is faster."""


def read_listing(
    client: Client, database: str, listing: Listing, tuning: Tuning = DEFAULT_TUNING
) -> Iterator[LogRow]:
    """Yield the rows of a listing, by column name. Raises `QueryError` as `listing_sql` does."""
    if listing.as_of is None and listing.limit <= MAX_PAGE_ROWS:
        yield from read_page(client, database, listing, tuning)
    else:
        yield from stream(client, *listing_sql(listing, database))


def read_page(
    client: Client, database: str, listing: Listing, tuning: Tuning = DEFAULT_TUNING
) -> list[LogRow]:
    """Return the first rows of a listing, at most `listing.limit`, as people see them.

    Raises `QueryError` as `listing_sql` does, and ClickHouse's errors.
    """
    listing_sql(listing, database)  # what cannot be asked is refused before anything is
    with_spare = replace(listing, limit=listing.limit + tuning.spare_messages)
    candidates = Candidates(client=client, database=database, listing=with_spare, tuning=tuning)
    while True:
        count, rows = _Page(candidates).rows()
        if len(rows) >= listing.limit or count < with_spare.limit:
            return rows[: listing.limit]


@dataclass(frozen=True, slots=True)
class _Page:
    """One page under way."""

    candidates: Candidates

    @property
    def listing(self) -> Listing:
        return self.candidates.listing

    @property
    def tuning(self) -> Tuning:
        return self.candidates.tuning

    def rows(self) -> tuple[int, list[LogRow]]:
        """Return how many messages were found for the page, and the rows of those.

        Events may come in between. A row that has got another place is left out, or the next page,
        which begins after the last row, would begin elsewhere.
        """
        listing = self.listing
        equal = {filter_.column for filter_ in listing.filters if filter_.operator == "="}
        if listing.after is None and equal - {"status"} and all(map(_is_plain, listing.filters)):
            whole = self._whole_rows()
            if whole is not None:
                kept = self._filtered(whole)
                return len(kept), kept
        try:
            messages = list(islice(self._messages(), listing.limit))
        except _FallBackToFullFoldError:
            messages = self._fold("", self.candidates.query_of_all())
        rows = {(row["recipient"], row["message_id"]): row for row in self._read(messages)}
        pairs = [(message, rows[message.key]) for message in messages if message.key in rows]
        return len(messages), [
            row for message, row in pairs
            if row["date"] == message.at and message.status in {"", row["status"]}
        ]  # fmt: skip

    def _messages(self) -> Iterator[Candidate]:
        """Yield the messages of the page in order, and those after it."""
        few = self._all_if_few()
        if few is not None:
            yield from self._folded(few)
        elif self.listing.sort == "recipient":
            yield from self._by_recipient()
        elif self.listing.sort == "status":
            yield from self._by_status()
        else:
            yield from self._by_date()

    def _all_if_few(self) -> list[Candidate] | None:
        """Return all candidates, if there are few, and it is worth a look whether there are."""
        limit, by_status = self.tuning.max_folded_messages, self.listing.sort == "status"
        if record_of(self.listing):
            return self.candidates.all_if_few(limit)
        if not self.listing.filters or (not by_status and self.candidates.is_one_scan):
            return None
        if by_status:
            pages = self._pages_by_status().values()
            self.candidates.estimate_at_once([page.candidates for page in pages])
        return self.candidates.all_if_few(limit) if self.candidates.may_be_few(limit) else None

    def _by_date(self) -> Iterator[Candidate]:
        """Yield messages in order of date, in rounds of candidates."""
        down, met, number = self.listing.goes_down, set[MessageKey](), self._first_round_size()
        beginning, late = self.candidates.newest(number) if down else ([], None)
        has_enough = len(beginning) == number
        rounds = self._back(beginning, late) if has_enough else self._onward(number)
        step = self.tuning.max_query_keys
        pending: list[Candidate] = []
        for candidates, upto in islice(rounds, self._max_rounds()):
            by_key = {each.key: each for each in candidates if each.key not in met}
            met |= by_key.keys()
            new = list(by_key.values())
            for start in range(0, len(new), step):
                pending += self._folded(new[start : start + step])
            pending = self._in_order(pending)
            if upto is None:
                yield from pending
                return
            # What is dated as the last candidate may have others beside it.
            safe = [each for each in pending if (each.at > upto if down else each.at < upto)]
            yield from safe
            pending = pending[len(safe) :]
        raise _FallBackToFullFoldError

    def _in_order(self, messages: list[Candidate]) -> list[Candidate]:
        """Return messages in order of date."""
        listing = self.listing
        by_key = sorted(messages, key=lambda each: each.key[::-1], reverse=listing.backward)
        return sorted(by_key, key=lambda each: each.at, reverse=listing.goes_down)

    def _back(self, beginning: list[Candidate], late: list[Candidate] | None) -> Iterator[_Round]:
        """Yield the newest messages, and so on, where states in which some seem to begin are found.

        Most events at any time are of older messages: they are opened all day long that were sent
        in the morning, and the newest states are theirs. So those in which a message seems to begin
        are taken for candidates, and of the others those that are of messages as new (E-070).
        """
        upto, number = None, len(beginning)
        step = self.tuning.max_query_keys
        while True:
            since, upto = upto, beginning[-1].at if len(beginning) == number else None
            others = self.candidates.late(upto, since, beginning) if late is None else late
            if len(others) >= step:
                upto = max(others[-1].at, upto or others[-1].at)
            yield [*beginning, *others], upto
            number = step
            beginning, late = self.candidates.beginning(number, upto), None

    def _onward(self, number: int) -> Iterator[_Round]:
        """Yield messages in either order of date, by all their states."""
        upto = None
        while True:
            candidates = self.candidates.by_date(number, upto)
            upto = candidates[-1].at if len(candidates) == number else None
            yield candidates, upto
            number = self.tuning.max_query_keys

    def _by_recipient(self) -> Iterator[Candidate]:
        """Yield messages in order of recipient: all of some recipients, then of the next."""
        after, number = self.listing.after, self._first_round_size()
        start = after.recipient if after is not None else None
        for _ in range(self._max_rounds()):
            candidates = self.candidates.by_recipient(number, start)
            if len(candidates) < number:
                yield from self._folded(candidates)
                return
            # Of the last recipient there may be more.
            start, number = candidates[-1].recipient, self.tuning.max_query_keys
            yield from self._folded([each for each in candidates if each.recipient != start])
        raise _FallBackToFullFoldError

    def _by_status(self) -> Iterator[Candidate]:
        """Yield messages in order of status: of each status those that a listing by date gives."""
        pages = self._pages_by_status()
        rare = self._rare_statuses(pages) if self.candidates.has_search else []
        limit = self.tuning.max_folded_messages
        few = self.candidates.of_statuses(rare, limit) if len(rare) > 1 else None
        if few is not None:
            yield from (each for each in self._folded(few) if each.status in rare)
            pages = {status: page for status, page in pages.items() if status not in rare}
        for status, page in pages.items():
            for message in page.by_date_or_all():
                yield message._replace(status=status)

    def _pages_by_status(self) -> dict[str, _Page]:
        """Return, in order, the listings by date of which a listing by status consists."""
        listing, after = self.listing, self.listing.after
        statuses = sorted({rule.status for rule in self.candidates.log.rules})
        others = tuple(
            f for f in listing.filters if f.column != "status" or f.operator not in {"=", ONE_OF}
        )
        pages = {}
        for status in statuses[::-1] if listing.goes_down else statuses:
            if not all(_may_have_status(status, filter_) for filter_ in listing.filters):
                continue
            place = None
            if after is not None:
                if status != after.value and (status < str(after.value)) != listing.goes_down:
                    continue
                place = after._replace(value=after.date) if status == after.value else None
            of_status = replace(
                listing, filters=(*others, Filter("status", "=", status)), sort="date",
                descending=True, after=place,
            )  # fmt: skip
            pages[status] = _Page(self.candidates.of(of_status))
        return pages

    def _rare_statuses(self, pages: Mapping[str, _Page]) -> list[str]:
        """Return the first statuses that all together hardly any candidate should have.

        The estimate may be too low by half: more than are few are searched for in vain.
        """
        numbers = accumulate(page.candidates.number() for page in pages.values())
        limit = self.tuning.max_folded_messages / 2
        within = takewhile(lambda pair: pair[1] <= limit, zip(pages, numbers, strict=True))
        return [status for status, _ in within]

    def by_date_or_all(self) -> Iterator[Candidate]:
        """Yield the messages of a page by date, however they are found."""
        met = set[MessageKey]()
        try:
            for message in self._by_date():
                met.add(message.key)
                yield message
        except _FallBackToFullFoldError:
            messages = self._fold("", self.candidates.query_of_all())
            yield from (message for message in messages if message.key not in met)

    def _first_round_size(self) -> int:
        """Return how many candidates the page is likely to be found among."""
        share = max(self.candidates.share(), 0.01)  # below that, all that may be at once
        # A message may have several states, and of a share there may be fewer than on average. By
        # date, newest first, those are taken in which one begins.
        is_newest_first = self.listing.sort == "date" and self.listing.goes_down
        states_per_row = max(2.0 if is_newest_first else 4.0, 1.6 / share)
        return min(int(states_per_row * self.listing.limit), self.tuning.max_query_keys)

    def _max_rounds(self) -> int:
        return self.tuning.max_rounds + 2 * self.listing.limit // self.tuning.max_query_keys

    def _folded(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return those of some messages that the page may have, in order, with their dates."""
        if not candidates:
            return []
        return self._fold(*self.candidates.query_of(candidates))

    def _fold(self, first: str, query: Query) -> list[Candidate]:
        """Return those messages of a query that the page may have, as far as it goes."""
        listing, log = self.listing, self.candidates.log
        where = query.where
        kept = [f"NOT {with_presence_bits(log, log.hidden).sql}"]
        kept += [filter_condition(log, filter_, query).sql for filter_ in listing.filters]
        if listing.after is not None:
            kept.append(after_condition(listing, listing.after, query))
        names = dict.fromkeys(["date", listing.sort, *(f.column for f in listing.filters)])
        states = pruned_select(log, names, self.candidates.states, where, prewhere=first)
        status = "status" if listing.sort == "status" else "''"
        return self.candidates.fetch(
            f"SELECT recipient, message_id, {KEY_HASH_SQL}, assumeNotNull(date), {status}, "
            f"{PRESENCE} FROM ({states}) WHERE {' AND '.join(kept)} "
            f"ORDER BY {order_by(listing)} LIMIT {listing.limit}",
            query,
        )

    def _filtered(self, rows: list[LogRow]) -> list[LogRow]:
        """Return those of a few rows that the filters keep, in order: a query less."""
        kept = [
            row for row in rows
            if all(row[filter_.column] in filter_.choices for filter_ in self.listing.filters)
        ]  # fmt: skip
        listing = self.listing
        kept.sort(key=lambda row: (row["message_id"], row["recipient"]), reverse=listing.backward)
        kept.sort(key=lambda row: row["date"], reverse=listing.goes_back_in_time)
        if listing.sort != "date":
            kept.sort(key=lambda row: row[listing.sort], reverse=listing.goes_down)
        return kept[: listing.limit]

    def _whole_rows(self) -> list[LogRow] | None:
        """Return the rows of all candidates, in any order, if there are few."""
        limit = self.tuning.max_whole_messages
        if record_of(self.listing):
            query = all_messages_of(self.listing, self.candidates.database, limit)
            if rows := self._rows_of(*query, _ALL_BITS):
                return rows
        few = self.candidates.all_if_few(limit)
        return None if few is None else self._read(few)

    def _read(self, candidates: Sequence[Candidate]) -> list[LogRow]:
        """Return the rows of some messages, in any order."""
        if not candidates:
            return []
        bits = reduce(operator.or_, (candidate.bits for candidate in candidates))
        return self._rows_of(*self.candidates.query_of(candidates), bits)

    def _rows_of(self, first: str, query: Query, bits: int) -> list[LogRow]:
        """Return the rows of the messages of a query, which have something of these bits."""
        log, states = self.candidates.log, self.candidates.states
        while True:
            folds = possible_folds(log, bits)
            packed = {fold.name: fold.kind for fold in folds if fold.is_packed}
            result = self.candidates.client.query(
                merge_select(log, states, query.where, prewhere=first, folds=folds),
                **sent_along(query.values),
                query_formats={"Tuple": "tuple"},
                column_formats=dict.fromkeys(packed, "bytes"),
            )
            rows = [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]
            for row in rows:
                row.update((name, unpack(row[name], kind)) for name, kind in packed.items())
            bits_now = reduce(operator.or_, (row[PRESENCE] for row in rows), bits)
            if bits_now == bits:
                break
            bits = bits_now  # events have come in between
        zeros = {fold.name: fold.zero for fold in log.folds}
        whole = [{**zeros, **row} for row in rows]
        return [
            read_row(log, {name: state[name] for name in KEY}, state)
            for state in whole if not log.hidden.evaluate(state)
        ]  # fmt: skip


def _is_plain(filter_: Filter) -> bool:
    return filter_.operator in {"=", ONE_OF} and filter_.column in _FEW_MESSAGES_COLUMNS


def _may_have_status(status: str, filter_: Filter) -> bool:
    """Whether a filter may keep a message of a status."""
    if filter_.column != "status":
        return True
    if filter_.operator == ONE_OF:
        return status in filter_.choices
    if filter_.operator == CONTAINS:  # letters of other scripts may equal those of a status
        return not filter_.value.isascii() or filter_.value.lower() in status.lower()
    return bool(_COMPARISONS[filter_.operator](status, filter_.value))
