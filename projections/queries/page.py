"""A page of a log at any size: candidates first, then the fold of those few.

A message's date is that of its first fact, so no partial state of it is dated earlier than the
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

from projections.clickhouse.ddl import HASH_SQL, merging_select
from projections.clickhouse.sql import Bound, stream
from projections.ordered_bytes import unpack
from projections.presence import SEEN, may_have
from projections.queries import record_index
from projections.queries.candidates import MOST, Candidate, Candidates, Key
from projections.queries.listing import Filter, Listing, condition, later, listing_sql, ordering
from projections.queries.pruned_select import narrow_select
from projections.status import read
from projections.tables import KEY

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Row = dict[str, Any]
#: Candidates that come next by date, and up to when there are no others; None: to the end.
_Round = tuple[list[Candidate], datetime | None]

#: Pages up to this are found by candidates; a longer listing is an export, and folds the tenant.
LARGEST_PAGE: Final = 1000
#: So many candidates are folded at once whatever the order asked for.
_FEW: Final = 1000
#: So many are read whole, and chosen from here, if the filters only ask whether texts are equal.
_READ: Final = 200
_EQUAL: Final = frozenset({"recipient", "message_id", "status", "record_type", "record_id"})
_COMPARED: Final = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
#: Messages found beyond the page, for those that get another place before they are read.
_SPARE: Final = 5
#: Rounds of candidates in vain after which all that there may be are folded at once.
_ROUNDS: Final = 3


class _NotFoundError(Exception):
    """So many candidates were looked at that folding all of them is faster."""


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
    listing_sql(wanted, database)  # what cannot be asked is refused before anything is
    more = replace(wanted, limit=wanted.limit + _SPARE)
    candidates = Candidates(client=client, database=database, wanted=more)
    while True:
        found, rows = _Page(candidates).rows()
        if len(rows) >= wanted.limit or found < more.limit:
            return rows[: wanted.limit]


@dataclass(frozen=True, slots=True)
class _Page:
    """One question under way."""

    candidates: Candidates

    @property
    def wanted(self) -> Listing:
        return self.candidates.wanted

    def rows(self) -> tuple[int, list[Row]]:
        """Return how many messages were found for the page, and the rows of those.

        Facts may come in between. A row that has got another place is left out, or the next page,
        which begins after the last row, would begin elsewhere.
        """
        wanted = self.wanted
        names = {each.column for each in wanted.filters if each.operator == "="}
        if wanted.after is None and names - {"status"} and all(map(_plain, wanted.filters)):
            whole = self._whole()
            if whole is not None:
                chosen = self._chosen(whole)
                return len(chosen), chosen
        try:
            found = list(islice(self._found(), wanted.limit))
        except _NotFoundError:
            found = self._kept("", self.candidates.all())
        rows = {(row["recipient"], row["message_id"]): row for row in self._read(found)}
        there = [(each, rows[each.key]) for each in found if each.key in rows]
        return len(found), [
            row for each, row in there
            if row["date"] == each.at and each.status in {"", row["status"]}
        ]  # fmt: skip

    def _found(self) -> Iterator[Candidate]:
        """Yield the messages of the page in order, and those after it."""
        wanted = self.wanted
        few = self._few()
        if few is not None:
            yield from self._folded(few)
        elif wanted.sort == "recipient":
            yield from self._by_recipient()
        elif wanted.sort == "status":
            yield from self._by_status()
        else:
            yield from self._by_date()

    def _few(self) -> list[Candidate] | None:
        """Return all candidates, if there are few, and it is worth a look whether there are."""
        by_status = self.wanted.sort == "status"
        if record_index.asked_for(self.wanted):
            return self.candidates.few(_FEW)
        if not self.wanted.filters or (not by_status and self.candidates.alone):
            return None
        if by_status:  # one look at all that this is going to ask about
            self.candidates.look_at([each.candidates for each in self._of_statuses().values()])
        return self.candidates.few(_FEW) if self.candidates.may_be_few(_FEW) else None

    def _by_date(self) -> Iterator[Candidate]:
        """Yield messages in order of date, in rounds of candidates."""
        down, seen, number = self.wanted.descending, set[Key](), self._first_round()
        begun, late = self.candidates.newest(number) if down else ([], None)
        rounds = self._back(begun, late) if len(begun) == number else self._onward(number)
        waiting: list[Candidate] = []
        for found, upto in islice(rounds, self._rounds()):
            new = list({each.key: each for each in found if each.key not in seen}.values())
            seen |= {each.key for each in new}
            for start in range(0, len(new), MOST):
                waiting += self._folded(new[start : start + MOST])
            waiting = _in_order(waiting, descending=down)
            if upto is None:
                yield from waiting
                return
            # What is dated as the last candidate may have others beside it.
            safe = [each for each in waiting if (each.at > upto if down else each.at < upto)]
            yield from safe
            waiting = waiting[len(safe) :]
        raise _NotFoundError

    def _back(self, begun: list[Candidate], late: list[Candidate] | None) -> Iterator[_Round]:
        """Yield the newest messages, and so on, where states in which some seem to begin are found.

        Most that is heard at any time is of older messages: they are opened all day long that were
        sent in the morning, and the newest states are theirs. So those in which a message seems to
        begin are taken for candidates, and of the others those that are of messages as new.
        """
        upto, number = None, len(begun)
        while True:
            since, upto = upto, begun[-1].at if len(begun) == number else None
            others = self.candidates.late(upto, since, begun) if late is None else late
            if len(others) >= MOST:
                upto = max(others[-1].at, upto or others[-1].at)
            yield [*begun, *others], upto
            number = MOST
            begun, late = self.candidates.begun(number, upto), None

    def _onward(self, number: int) -> Iterator[_Round]:
        """Yield messages in either order of date, by all their states."""
        upto = None
        while True:
            found = self.candidates.by_date(number, upto)
            upto = found[-1].at if len(found) == number else None
            yield found, upto
            number = MOST

    def _by_recipient(self) -> Iterator[Candidate]:
        """Yield messages in order of recipient: all of some recipients, then of the next."""
        after, number = self.wanted.after, self._first_round()
        start = after.recipient if after is not None else None
        for _ in range(self._rounds()):
            found = self.candidates.by_recipient(number, start)
            if len(found) < number:
                yield from self._folded(found)
                return
            # Of the last recipient there may be more.
            start, number = found[-1].recipient, MOST
            yield from self._folded([each for each in found if each.recipient != start])
        raise _NotFoundError

    def _by_status(self) -> Iterator[Candidate]:
        """Yield messages in order of status: of each status those that a listing by date gives."""
        pages = self._of_statuses()
        rare = self._rare(pages) if self.candidates.searches else []
        few = self.candidates.of_statuses(rare, _FEW) if len(rare) > 1 else None
        if few is not None:
            yield from (each for each in self._folded(few) if each.status in rare)
            pages = {status: page for status, page in pages.items() if status not in rare}
        for status, page in pages.items():
            for each in page.by_date_or_all():
                yield each._replace(status=status)

    def _of_statuses(self) -> dict[str, _Page]:
        """Return, in order, the listings by date of which a listing by status consists."""
        wanted, after = self.wanted, self.wanted.after
        statuses = sorted({rule.status for rule in self.candidates.log.rules})
        others = tuple(f for f in wanted.filters if f.operator != "=" or f.column != "status")
        pages = {}
        for status in statuses[::-1] if wanted.descending else statuses:
            if not all(_may_be(status, each) for each in wanted.filters):
                continue
            begun = None
            if after is not None:
                if status != after.value and (status < str(after.value)) != wanted.descending:
                    continue
                begun = after._replace(value=after.date) if status == after.value else None
            of_status = replace(
                wanted, filters=(*others, Filter("status", "=", status)), sort="date",
                descending=True, after=begun,
            )  # fmt: skip
            pages[status] = _Page(self.candidates.of(of_status))
        return pages

    def _rare(self, pages: Mapping[str, _Page]) -> list[str]:
        """Return the first statuses that all together hardly any candidate should have.

        By a guess that may be too low by half: more than are few are searched for in vain.
        """
        numbers = accumulate(page.candidates.number() for page in pages.values())
        within = takewhile(lambda each: each[1] <= _FEW / 2, zip(pages, numbers, strict=True))
        return [status for status, _ in within]

    def by_date_or_all(self) -> Iterator[Candidate]:
        """Yield the messages of a page by date, however they are found."""
        found = set[Key]()
        try:
            for each in self._by_date():
                found.add(each.key)
                yield each
        except _NotFoundError:
            kept = self._kept("", self.candidates.all())
            yield from (each for each in kept if each.key not in found)

    def _first_round(self) -> int:
        """Return how many candidates the page is likely to be found among."""
        share = max(self.candidates.share(), 0.01)  # below that, all that may be at once
        # A message may have several states, and of a share there may be fewer than on average. By
        # date, newest first, those are taken in which one begins.
        many = 2.0 if self.wanted.sort == "date" and self.wanted.descending else 4.0
        states = max(many, 1.6 / share)
        return min(int(states * self.wanted.limit), MOST)

    def _rounds(self) -> int:
        return _ROUNDS + 2 * self.wanted.limit // MOST

    def _folded(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return those of some messages that the page may have, in order, with their dates."""
        if not candidates:
            return []
        return self._kept(*self.candidates.these(candidates))

    def _kept(self, first: str, bound: Bound) -> list[Candidate]:
        """Return those messages of a question that the page may have, as far as it goes."""
        wanted, log = self.wanted, self.candidates.log
        where = bound.where
        kept = [condition(log, each, bound) for each in wanted.filters]
        if wanted.after is not None:
            kept.append(later(wanted, wanted.after, bound))
        names = dict.fromkeys(["date", wanted.sort, *(each.column for each in wanted.filters)])
        states = narrow_select(log, names, self.candidates.states, where, prewhere=first)
        status = "status" if wanted.sort == "status" else "''"
        return self.candidates.query(
            f"SELECT recipient, message_id, {HASH_SQL}, assumeNotNull(date), {status}, {SEEN} "
            f"FROM ({states}) WHERE {' AND '.join(kept or ['true'])} "
            f"ORDER BY {ordering(wanted)} LIMIT {wanted.limit}",
            bound,
        )

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

    def _whole(self) -> list[Row] | None:
        """Return the rows of all candidates, in any order, if there are few."""
        if record_index.asked_for(self.wanted):
            question = record_index.all_of(self.wanted, self.candidates.database, _READ)
            if rows := self._rows(*question, ~0):
                return rows
        few = self.candidates.few(_READ)
        return None if few is None else self._read(few)

    def _read(self, candidates: Sequence[Candidate]) -> list[Row]:
        """Return the rows of some messages, in any order."""
        if not candidates:
            return []
        bits = reduce(operator.or_, (each.seen for each in candidates))
        return self._rows(*self.candidates.these(candidates), bits)

    def _rows(self, first: str, bound: Bound, bits: int) -> list[Row]:
        """Return the rows of the messages of a question, which have something of these bits."""
        log, states = self.candidates.log, self.candidates.states
        while True:
            folds = may_have(log, bits)
            packed = {fold.name: fold.kind for fold in folds if fold.is_packed}
            found = self.candidates.client.query(
                merging_select(log, states, bound.where, prewhere=first, folds=folds),
                parameters=bound.values,
                query_formats={"Tuple": "tuple"},
                column_formats=dict.fromkeys(packed, "bytes"),
            )
            rows = [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]
            for row in rows:
                row.update((name, unpack(row[name], kind)) for name, kind in packed.items())
            now = reduce(operator.or_, (row[SEEN] for row in rows), bits)
            if now == bits:
                break
            bits = now  # facts have come in between
        nothing = {fold.name: fold.zero for fold in log.folds}
        return [read(log, {name: row[name] for name in KEY}, {**nothing, **row}) for row in rows]


def _in_order(found: list[Candidate], *, descending: bool) -> list[Candidate]:
    by_key = sorted(found, key=lambda each: each.key[::-1])
    return sorted(by_key, key=lambda each: each.at, reverse=descending)


def _plain(wanted: Filter) -> bool:
    return wanted.operator == "=" and wanted.column in _EQUAL


def _may_be(status: str, wanted: Filter) -> bool:
    """Whether a filter may keep a message of a status."""
    if wanted.column != "status":
        return True
    if wanted.operator == "~":  # where letters of other scripts may equal those of a status
        return not wanted.value.isascii() or wanted.value.lower() in status.lower()
    return bool(_COMPARED[wanted.operator](status, wanted.value))
