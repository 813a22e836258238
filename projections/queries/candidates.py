"""Which messages may be on a page, found in the partial states without folding them.

Of what some partial state of a message shows (`pushdown`), a scan may ask one thing of the states
that it reads, and the others by way of the messages that show them, where those are not too many to
be a set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from projections import presence
from projections.clickhouse.ddl import KEY_CHECK, KEY_HASH, STATE_DATE
from projections.clickhouse.sql import Condition, Query, fetch_rows, where_clauses
from projections.column_types import TIME
from projections.presence import MERGED_PRESENCE, PRESENCE
from projections.queries.listing import CONTAINS, Listing, filter_condition
from projections.queries.pushdown import (
    Pushdown,
    StatePredicate,
    every_state,
    has_status,
    one_of,
    predicate_of,
)
from projections.queries.record_index import indexed_messages, record_of
from projections.queries.selectivity import SampleCounts, SelectivityEstimator
from projections.queries.tuning import Tuning
from projections.tables import KEY, Projection
from schemas.events import MAX_EVENT_TIME, MIN_EVENT_TIME

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MessageKey = tuple[str, str]  # recipient, message_id


class Candidate(NamedTuple):
    """A message that may be on the page, and the first time and the bits of a partial state of it.

    Once folded: its date, its status if the page is sorted by that, and the bits of all its states.
    """

    recipient: str
    message_id: str
    hash: int
    at: datetime
    status: str
    bits: int

    @property
    def key(self) -> MessageKey:
        """What tells the message from others of its tenant and channel."""
        return self.recipient, self.message_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The candidates of one listing of a log."""

    client: Client
    database: str
    listing: Listing
    tuning: Tuning
    sample: SampleCounts = field(default_factory=SampleCounts)

    @property
    def log(self) -> Projection:
        """The log that is listed."""
        return self.pushdown.log

    @property
    def pushdown(self) -> Pushdown:
        """What the listing asks of partial states."""
        return Pushdown(self.listing)

    @property
    def selectivity(self) -> SelectivityEstimator:
        """How many states show something, by which the pace is chosen."""
        return SelectivityEstimator(
            self.client, self.states, self._query, self.sample, self.tuning.sample_states
        )

    @property
    def states(self) -> str:
        """The log's table of partial states."""
        return f"{self.database}.{self.log.state_table}"

    def of(self, listing: Listing) -> Candidates:
        """Return the candidates of another listing of the same log."""
        return replace(self, listing=listing)

    def fetch(self, sql: str, query: Query) -> list[Candidate]:
        """Return the candidates of an answer. Raises ClickHouse's errors."""
        rows = fetch_rows(self.client, sql, query.values)
        return [Candidate(*row) for row in rows]

    @property
    def is_one_scan(self) -> bool:
        """Whether all that the filters ask is asked of the states that are read in order."""
        return not self._split()[1]

    @property
    def has_search(self) -> bool:
        """Whether a text is searched, which costs more than all else."""
        return any(filter_.operator == CONTAINS for filter_ in self.listing.filters)

    def all_if_few(self, limit: int) -> list[Candidate] | None:
        """Return all candidates, if what the filters ask is shown by at most `limit` states.

        Of a customer record all of its messages, if they are no more than that.
        """
        if record_of(self.listing):
            return self._of_record_if_few(limit)
        for predicate in self.pushdown.of_some_state() or [every_state]:
            query = self._query()
            query.add(predicate(query))
            if (candidates := self._up_to(query, limit)) is not None:
                return candidates
        return None

    def _of_record_if_few(self, limit: int) -> list[Candidate] | None:
        query = Query(self.listing.tenant)
        indexed = indexed_messages(self.listing, self.database, query, limit + 1)
        rows = fetch_rows(self.client, indexed, query.values)
        if len(rows) > limit:
            return None
        named = [Candidate(recipient, "", key, MIN_EVENT_TIME, "", 0) for recipient, key in rows]
        return self._merged(*self.query_of(named)) if named else []

    def may_be_few(self, limit: int) -> bool:
        """Whether `all_if_few` may return something, by an estimate that spares a scan."""
        predicates = self.pushdown.of_some_state()
        if not predicates:
            return True
        return min(self.selectivity.numbers(predicates)) <= self.tuning.not_few_factor * limit

    def by_date(self, number: int, upto: datetime | None = None) -> list[Candidate]:
        """Return `number` states in order of their first time, from `upto` on.

        A message is dated as the first of its states. So going back in time, all messages later
        than the last of these states are among them, and going forward all that are earlier.
        """
        return self._in_time(self._narrowed(), number, upto)

    def beginning(self, number: int, upto: datetime | None = None) -> list[Candidate]:
        """Return `number` states from `upto` back in which a message seems to begin."""
        query = self._narrowed()
        query.add(self.pushdown.begins(query))
        return self._in_time(query, number, upto)

    def newest(self, number: int) -> tuple[list[Candidate], list[Candidate] | None]:
        """Return the newest `number` of `beginning`, and what `late` would of those as new.

        Texts are searched in what other conditions leave, and of times there is an index: so only
        in the time in which they should be found (E-076), and both by one scan (E-004). Without
        enough by the estimate there are fewer than `number`; None: the late ones are not known.
        """
        if not self.has_search:
            return self.beginning(number), None
        states, tuning = self.number(), self.tuning
        if states < tuning.window_factor * number:
            return [], None
        after = self.listing.after
        until = after.date if after is not None else datetime.now(UTC)
        length = (until - self.sample.since) * (tuning.window_factor * number / states)
        limit = max(number, tuning.max_late_messages + 1)
        query = self._narrowed(until - length)
        order = f"ORDER BY {STATE_DATE} DESC LIMIT {limit} BY {self.pushdown.is_late(query).sql}"
        beginning, late = list[Candidate](), list[Candidate]()
        is_late = presence.is_late(self.log)
        for candidate in self._states_of(query, order, 2 * limit):
            (late if is_late(candidate.bits) else beginning).append(candidate)
        beginning = beginning[:number]
        if len(beginning) < number:
            return beginning, None
        upto = beginning[-1].at
        if len(late) == limit and late[-1].at >= upto:
            return beginning, self._late_as_new(upto, None, beginning)
        known = {candidate.hash for candidate in beginning}
        return beginning, [
            candidate for candidate in late
            if candidate.at >= upto and candidate.hash not in known
        ]  # fmt: skip

    def number(self) -> float:
        """Return about how many states show all that is asked, and seem to begin a message."""
        predicates = (*self.pushdown.of_some_state(), self.pushdown.begins)
        return self.selectivity.number(*predicates)

    def _in_time(self, query: Query, number: int, upto: datetime | None) -> list[Candidate]:
        if upto is not None:
            sign = "<=" if self.listing.goes_down else ">="
            query.add(f"{STATE_DATE} {sign} {query.bind(upto, TIME)}")
        return self._states_of(query, f"ORDER BY {STATE_DATE} {self._direction}", number)

    def late(
        self, upto: datetime | None, since: datetime | None, known: Sequence[Candidate]
    ) -> list[Candidate]:
        """Return messages of which `beginning` leaves a state out, those `known` apart: the latest.

        Those dated from `since` down to `upto`, or as many as a query can name, dated and the
        latest first. Of the states of later events few are of messages as new as they are: those of
        which nothing earlier than `upto` is there. Unless all are few anyway, which come as they
        are, these are found by eight bytes each.
        """
        limit = self.tuning.max_late_messages
        few = self._states_of(self._late(upto, known), f"LIMIT 1 BY {KEY_HASH}", limit + 1)
        return few if len(few) <= limit else self._late_as_new(upto, since, known)

    def _late(self, upto: datetime | None, known: Sequence[Candidate]) -> Query:
        query = self._narrowed(upto or MIN_EVENT_TIME)
        query.add(self.pushdown.is_late(query))
        hashes = query.bind_list([candidate.hash for candidate in known], "UInt64")
        query.add(f"{KEY_HASH} NOT IN {hashes}")
        return query

    def _late_as_new(
        self, upto: datetime | None, since: datetime | None, known: Sequence[Candidate]
    ) -> list[Candidate]:
        first, last = upto or MIN_EVENT_TIME, since or MAX_EVENT_TIME
        query = self._late(upto, known)
        states = f"SELECT {KEY_HASH} FROM {self.states} {query.clauses}"
        rows = fetch_rows(
            self.client,
            f"SELECT {KEY_HASH}, min({STATE_DATE}) AS at FROM {self.states} "
            f"WHERE {query.of_tenant} AND {KEY_HASH} IN ({states}) "
            f"GROUP BY {KEY_HASH}, {KEY_CHECK} "
            f"HAVING at >= {query.bind(first, TIME)} AND at <= {query.bind(last, TIME)} "
            f"ORDER BY at DESC LIMIT {self.tuning.max_query_keys}",
            query.values,
        )
        if not rows:
            return []
        query = Query(self.listing.tenant)
        hashes = query.bind_list([row[0] for row in rows], "UInt64")
        return self._merged(f"{KEY_HASH} IN {hashes}", query)

    def _merged(self, first: str, query: Query) -> list[Candidate]:
        """Return the messages of a query, the latest first, each with the bits of all states."""
        return self.fetch(
            f"SELECT recipient, message_id, {KEY_HASH}, min({STATE_DATE}) AS at, '', "
            f"{MERGED_PRESENCE} "
            f"FROM {self.states} AS part PREWHERE {first} WHERE {query.where} "
            f"GROUP BY recipient, message_id, {KEY_HASH} ORDER BY at DESC",
            query,
        )

    def by_recipient(self, number: int, start: str | None) -> list[Candidate]:
        """Return `number` states in order of recipient, from `start` on."""
        query = self._narrowed()
        if start is not None:
            sign = "<=" if self.listing.goes_down else ">="
            query.add(f"recipient {sign} {query.bind(start, 'String')}")
        order = f"ORDER BY tenant_id {self._direction}, recipient {self._direction}"
        return self._states_of(query, order, number)

    def query_of_all(self) -> Query:
        """Return the query about every state of every candidate, however many there are."""
        query = Query(self.listing.tenant)
        if self.listing.filters or self.listing.after:
            # By way of the hash: an earlier state may date a message before the dates asked for.
            predicates = self.pushdown.of_some_state() or [every_state]
            of_all_states = self.pushdown.of_all_states(query)
            query.add(*(self._among(query, of_all_states, each) for each in predicates))
        return query

    def query_of_few(self) -> Query:
        """Return the query about the states of all candidates, and of others if they are many.

        Only what few states show narrows it.
        """
        query = Query(self.listing.tenant)
        by_key = [filter_ for filter_ in self.listing.filters if filter_.column in KEY]
        query.add(*(filter_condition(self.log, filter_, query) for filter_ in by_key))
        if len(by_key) < len(self.listing.filters):
            of_all_states = self.pushdown.of_all_states(query)
            predicates = self.pushdown.of_some_state() or [every_state]
            rare = filter(self._is_rare, predicates)
            query.add(*(self._among(query, of_all_states, each) for each in rare))
        return query

    def query_of(self, candidates: Sequence[Candidate]) -> tuple[str, Query]:
        """Return what to look for first, and the rest of a query about some candidates.

        A granule is picked by its recipients, and of that eight bytes a row are read to pick a row.
        Another message of the same recipients may come with them, if its hash is the same.
        """
        query = Query(self.listing.tenant)
        recipients = sorted({candidate.recipient for candidate in candidates})
        query.add(f"recipient IN {query.bind_list(recipients, 'String')}")
        hashes = query.bind_list([candidate.hash for candidate in candidates], "UInt64")
        return f"{KEY_HASH} IN {hashes}", query

    @property
    def _direction(self) -> str:
        return "DESC" if self.listing.goes_down else "ASC"

    def _states_of(self, query: Query, order: str, number: int) -> list[Candidate]:
        return self.fetch(
            f"SELECT recipient, message_id, {KEY_HASH}, {STATE_DATE}, '', {PRESENCE} "
            f"FROM {self.states} {query.clauses} {order} LIMIT {number}",
            query,
        )

    def _up_to(self, query: Query, limit: int) -> list[Candidate] | None:
        candidates = self._states_of(query, "", limit + 1)
        return candidates if len(candidates) <= limit else None

    def share(self) -> float:
        """Return about which share of the candidates in order of the listing the filters keep."""
        has_unknown = any(
            filter_.column not in {*KEY, "date"} and predicate_of(self.log, filter_) is None
            for filter_ in self.listing.filters
        )
        _, others = self._split()
        return prod(
            [self.selectivity.share(each) for each in others if not self._is_rare(each)],
            start=self.tuning.unknown_filter_share if has_unknown else 1.0,
        )

    def estimate_at_once(self, listings: Sequence[Candidates]) -> None:
        """Estimate by one query all that some other listings of these candidates will ask about."""
        if predicates := self.pushdown.of_some_state():
            of_each = [each for other in listings for each in other.pushdown.of_some_state()]
            self.selectivity.measure(*predicates, *of_each, self.pushdown.begins)

    def of_statuses(self, statuses: Sequence[str], limit: int) -> list[Candidate] | None:
        """Return all candidates that may have one of some statuses, if those are up to `limit`.

        Where a text is searched that is faster than status by status (E-009).
        """
        predicates = [has_status(self.log, status) for status in statuses]
        if sum(self.selectivity.numbers(predicates)) > self.tuning.max_rare_states:
            return None
        query = self._narrowed()
        of_all_states = self.pushdown.of_all_states(query)
        query.add(self._among(query, of_all_states, one_of(*predicates)))
        return self._up_to(query, limit)

    def _narrowed(self, start: datetime = MIN_EVENT_TIME) -> Query:
        """Return the query about what candidates must show, some of it of the state itself.

        Of messages from `start` on: all of their states are, too.
        """
        query = self._query()
        if start > MIN_EVENT_TIME:
            query.add(f"{STATE_DATE} >= {query.bind(start, TIME)}")
        of_all_states = list(query.conditions)
        of_itself, others = self._split()
        query.add(*(each(query) for each in of_itself))
        query.add(
            *(self._among(query, of_all_states, each) for each in others if self._is_rare(each))
        )
        return query

    def _split(self) -> tuple[list[StatePredicate], list[StatePredicate]]:
        """Return what to ask of the state that is read, and what of any state of its message.

        A state may show something later than the message is dated: in order of time that will do
        only going back, from the very end. Else the first state is asked for: what it shows. Of
        what too many show to be a set only one thing can be asked: that which the fewest show.
        """
        pushdown = self.pushdown
        by_date = self.listing.sort == "date"
        if by_date and (pushdown.of_first_state() or not self.listing.goes_down):
            return pushdown.of_first_state(), pushdown.of_any_state()
        predicates = pushdown.of_some_state()
        if len(predicates) < 2:
            return predicates, []
        numbers = self.selectivity.numbers(predicates)
        many = [number for number in numbers if number > self.tuning.max_rare_states]
        of_itself = predicates[numbers.index(min(many) if many else max(numbers))]
        return [of_itself], [each for each in predicates if each is not of_itself]

    def _among(
        self, query: Query, of_all_states: Sequence[Condition], predicate: StatePredicate
    ) -> str:
        clauses = where_clauses(query.of_tenant, [*of_all_states, predicate(query)])
        return f"{KEY_HASH} IN (SELECT {KEY_HASH} FROM {self.states} {clauses})"

    def _is_rare(self, predicate: StatePredicate) -> bool:
        return self.selectivity.number(predicate) <= self.tuning.max_rare_states

    def _query(self) -> Query:
        query = Query(self.listing.tenant)
        query.add(*self.pushdown.of_all_states(query))
        return query
