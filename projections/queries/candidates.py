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
from typing import TYPE_CHECKING, Final, NamedTuple

from projections import presence
from projections.clickhouse.ddl import CHECK, DATED, HASH
from projections.clickhouse.sql import Bound
from projections.expressions import TIME
from projections.presence import MERGED, SEEN
from projections.queries import record_index
from projections.queries.listing import SEARCH, Listing
from projections.queries.pushdown import Shown, Traces, either, every, has_status, trace_of
from projections.queries.selectivity import Looked, Sample
from projections.tables import KEY, Projection
from schemas.events import EARLIEST, LATEST

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Key = tuple[str, str]  # recipient, message_id
#: Messages that show something, up to which their hashes are worth a set: 8 bytes each.
RARE: Final = 400_000
#: So many times more states than are few, as judged by a part, surely are not few.
_SURELY: Final = 20
#: The share of candidates that a filter is taken to keep whose effect is not known beforehand.
_UNTOLD: Final = 0.1
#: So many times the time in which there should be enough on average: no two days are alike.
_PLENTY: Final = 3
#: Messages of which to fold all is faster than to find out which of them are new: 0.1 ms each.
_FEW_LATE: Final = 300
#: All at once are as many as a question can name, each with its hash and its recipient.
MOST: Final = 1000


class Candidate(NamedTuple):
    """A message that may be on the page, and the first time and the bits of a partial state of it.

    Once folded: its date, its status if the page is sorted by that, and the bits of all its states.
    """

    recipient: str
    message_id: str
    hash: int
    at: datetime
    status: str
    seen: int

    @property
    def key(self) -> Key:
        """What tells the message from others of its tenant and channel."""
        return self.recipient, self.message_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The candidates of one listing of a log."""

    client: Client
    database: str
    wanted: Listing
    looked: Looked = field(default_factory=Looked)

    @property
    def log(self) -> Projection:
        """The log that is listed."""
        return self.asks.log

    @property
    def asks(self) -> Traces:
        """What the listing asks of partial states."""
        return Traces(self.wanted)

    @property
    def sample(self) -> Sample:
        """A part of its states, by which the pace is chosen."""
        return Sample(self.client, self.states, self._bound, self.looked)

    @property
    def states(self) -> str:
        """Its table of partial states."""
        return f"{self.database}.{self.log.state_table}"

    def of(self, wanted: Listing) -> Candidates:
        """Return the candidates of another listing of the same log."""
        return replace(self, wanted=wanted)

    def query(self, sql: str, bound: Bound) -> list[Candidate]:
        """Return the candidates of an answer. Raises ClickHouse's errors."""
        return [
            Candidate(*row) for row in self.client.query(sql, parameters=bound.values).result_rows
        ]

    @property
    def alone(self) -> bool:
        """Whether what the filters ask is asked of the states that are read in order, all of it."""
        return not self._split()[1]

    @property
    def searches(self) -> bool:
        """Whether a text is searched, which costs more than all else."""
        return any(each.operator == "~" for each in self.wanted.filters)

    def few(self, most: int) -> list[Candidate] | None:
        """Return all candidates, if what the filters ask is shown by no more than `most` states.

        Of a record all of its messages, if they are no more than that.
        """
        if record_index.asked_for(self.wanted):
            return self._few_of_record(most)
        for shown in self.asks.shown() or [every]:
            bound = self._bound()
            bound.conditions.append(shown(bound))
            if (found := self._up_to(bound, most)) is not None:
                return found
        return None

    def _few_of_record(self, most: int) -> list[Candidate] | None:
        bound = Bound()
        noted = record_index.noted(self.wanted, self.database, bound, most + 1)
        found = self.client.query(noted, parameters=bound.values).result_rows
        if len(found) > most:
            return None
        named = [Candidate(recipient, "", key, EARLIEST, "", 0) for recipient, key in found]
        return self._together(*self.these(named)) if named else []

    def may_be_few(self, most: int) -> bool:
        """Whether `few` may return something: judged by a part of the states, to spare a scan."""
        shown = self.asks.shown()
        return not shown or min(self.sample.numbers(shown)) <= _SURELY * most

    def by_date(self, number: int, upto: datetime | None = None) -> list[Candidate]:
        """Return `number` states in order of their first time, from `upto` on.

        A message is dated as the first of its states. So going back in time, all messages later
        than the last of these states are among them, and going forward all that are earlier.
        """
        return self._in_time(self._narrowed(), number, upto)

    def begun(self, number: int, upto: datetime | None = None) -> list[Candidate]:
        """Return `number` states from `upto` back in which a message seems to begin; see `late`."""
        bound = self._narrowed()
        bound.conditions.append(self.asks.begins(bound))
        return self._in_time(bound, number, upto)

    def newest(self, number: int) -> tuple[list[Candidate], list[Candidate] | None]:
        """Return the newest `number` of these, and what `late` would of those as new, if known.

        Texts are searched in what other conditions leave, and of times there is an index: so only
        where they should be found, the newest 110 at a domain of 5 million states in 11, not 84 ms.
        There both are found by one scan. Without enough in sight there are fewer than `number`.
        """
        if not self.searches:
            return self.begun(number), None
        states = self.number()
        if states < _PLENTY * number:
            return [], None
        after = self.wanted.after
        until = after.date if after is not None else datetime.now(UTC)
        length = (until - self.looked.since) * (_PLENTY * number / states)
        most = max(number, _FEW_LATE + 1)
        bound = self._narrowed(until - length)
        order = f"ORDER BY {DATED} DESC LIMIT {most} BY {self.asks.late(bound)}"
        begun, late = list[Candidate](), list[Candidate]()
        is_late = presence.late(self.log)
        for each in self._found(bound, order, 2 * most):
            (late if is_late(each.seen) else begun).append(each)
        begun = begun[:number]
        if len(begun) < number:
            return begun, None
        upto = begun[-1].at
        if len(late) == most and late[-1].at >= upto:
            return begun, self._late_as_new(upto, None, begun)
        known = {each.hash for each in begun}
        return begun, [each for each in late if each.at >= upto and each.hash not in known]

    def number(self) -> float:
        """Return about how many states show all that is asked, and seem to begin a message."""
        return self.sample.number(*self.asks.shown(), self.asks.begins)

    def _in_time(self, bound: Bound, number: int, upto: datetime | None) -> list[Candidate]:
        if upto is not None:
            sign = "<=" if self.wanted.descending else ">="
            bound.conditions.append(f"{DATED} {sign} {bound.bind(upto, TIME)}")
        return self._found(bound, f"ORDER BY {DATED} {self._way}", number)

    def late(
        self, upto: datetime | None, since: datetime | None, known: Sequence[Candidate]
    ) -> list[Candidate]:
        """Return messages of which `begun` leaves a state out, what is `known` apart: the latest.

        Those dated from `since` down to `upto`, or `MOST` of them, dated and the latest first. Of
        the states of later facts few are of messages as new as they are: those of which nothing
        earlier than `upto` is there. Unless all are few anyway, which come as they are, these are
        found by eight bytes each.
        """
        few = self._found(self._late(upto, known), f"LIMIT 1 BY {HASH}", _FEW_LATE + 1)
        return few if len(few) <= _FEW_LATE else self._late_as_new(upto, since, known)

    def _late(self, upto: datetime | None, known: Sequence[Candidate]) -> Bound:
        bound = self._narrowed(upto or EARLIEST)
        bound.conditions.append(self.asks.late(bound))
        hashes = bound.bind([each.hash for each in known], "Array(UInt64)")
        bound.conditions.append(f"{HASH} NOT IN {hashes}")
        return bound

    def _late_as_new(
        self, upto: datetime | None, since: datetime | None, known: Sequence[Candidate]
    ) -> list[Candidate]:
        first, last = upto or EARLIEST, since or LATEST
        bound = self._late(upto, known)
        tenant = bound.conditions[0]
        states = f"SELECT {HASH} FROM {self.states} {_where(bound.conditions)}"
        found = self.client.query(
            f"SELECT {HASH}, min({DATED}) AS at FROM {self.states} "
            f"WHERE {tenant} AND {HASH} IN ({states}) GROUP BY {HASH}, {CHECK} "
            f"HAVING at >= {bound.bind(first, TIME)} AND at <= {bound.bind(last, TIME)} "
            f"ORDER BY at DESC LIMIT {MOST}",
            parameters=bound.values,
        )
        if not found.result_rows:
            return []
        bound = Bound.of(self.wanted.tenant)
        hashes = bound.bind([row[0] for row in found.result_rows], "Array(UInt64)")
        return self._together(f"{HASH} IN {hashes}", bound)

    def _together(self, first: str, bound: Bound) -> list[Candidate]:
        """Return the messages of a question, the latest first, each with the bits of all states."""
        return self.query(
            f"SELECT recipient, message_id, {HASH}, min({DATED}) AS at, '', {MERGED} "
            f"FROM {self.states} AS part PREWHERE {first} WHERE {bound.where} "
            f"GROUP BY recipient, message_id, {HASH} ORDER BY at DESC",
            bound,
        )

    def by_recipient(self, number: int, start: str | None) -> list[Candidate]:
        """Return `number` states in order of recipient, from `start` on."""
        bound = self._narrowed()
        down = self.wanted.descending
        if start is not None:
            bound.conditions.append(
                f"recipient {'<=' if down else '>='} {bound.bind(start, 'String')}"
            )
        order = f"ORDER BY tenant_id {self._way}, recipient {self._way}"
        return self._found(bound, order, number)

    def all(self) -> Bound:
        """Return the question about every state of every candidate, however many there are."""
        bound = Bound.of(self.wanted.tenant)
        if self.wanted.filters or self.wanted.after:
            # By way of the hash: an earlier state may date a message before the dates asked for.
            shown = self.asks.shown() or [every]
            always = self.asks.always(bound)
            bound.conditions += [self._among(bound, always, each) for each in shown]
        return bound

    def these(self, candidates: Sequence[Candidate]) -> tuple[str, Bound]:
        """Return what to look for first, and the rest of a question about some candidates.

        A granule is picked by its recipients, and of that eight bytes a row are read to pick a row.
        Another message of the same recipients may come with them, if its hash is the same.
        """
        bound = Bound.of(self.wanted.tenant)
        recipients = sorted({each.recipient for each in candidates})
        bound.conditions.append(f"recipient IN {bound.bind(recipients, 'Array(String)')}")
        hashes = bound.bind([each.hash for each in candidates], "Array(UInt64)")
        return f"{HASH} IN {hashes}", bound

    @property
    def _way(self) -> str:
        return "DESC" if self.wanted.descending else "ASC"

    def _found(self, bound: Bound, order: str, number: int) -> list[Candidate]:
        return self.query(
            f"SELECT recipient, message_id, {HASH}, {DATED}, '', {SEEN} FROM {self.states} "
            f"{_where(bound.conditions)} {order} LIMIT {number}",
            bound,
        )

    def _up_to(self, bound: Bound, most: int) -> list[Candidate] | None:
        found = self._found(bound, "", most + 1)
        return found if len(found) <= most else None

    def share(self) -> float:
        """Return about which share of the candidates in order of the listing the filters keep."""
        untold = any(
            each.column not in {*KEY, "date"} and trace_of(self.log, each) is None
            for each in self.wanted.filters
        )
        _, others = self._split()
        return prod(
            [self.sample.share(each) for each in others if not self._is_rare(each)],
            start=_UNTOLD if untold else 1.0,
        )

    def look_at(self, listings: Sequence[Candidates]) -> None:
        """Judge by one look all that some other listings of these candidates will ask about."""
        if shown := self.asks.shown():
            of_each = [trace for each in listings for trace in each.asks.shown()]
            self.sample.look(*shown, *of_each, self.asks.begins)

    def of_statuses(self, statuses: Sequence[str], most: int) -> list[Candidate] | None:
        """Return all candidates that may have one of some statuses, if those are up to `most`.

        Where a text is searched that is faster than status by status: 100, not 150 ms for two.
        """
        traces = [has_status(self.log, each) for each in statuses]
        if sum(self.sample.numbers(traces)) > RARE:
            return None
        bound = self._narrowed()
        bound.conditions.append(self._among(bound, self.asks.always(bound), either(*traces)))
        return self._up_to(bound, most)

    def _narrowed(self, start: datetime = EARLIEST) -> Bound:
        """Return the question about what candidates must show, some of it of the state itself.

        Of messages from `start` on: all of their states are, too.
        """
        bound = self._bound()
        if start > EARLIEST:
            bound.conditions.append(f"{DATED} >= {bound.bind(start, TIME)}")
        always = list(bound.conditions)
        itself, others = self._split()
        bound.conditions += [each(bound) for each in itself]
        bound.conditions += [
            self._among(bound, always, each) for each in others if self._is_rare(each)
        ]
        return bound

    def _split(self) -> tuple[list[Shown], list[Shown]]:
        """Return what to ask of the state that is read, and what of any state of its message.

        A state may show something later than the message is dated: in order of time that will do
        only going back, from the very end. Else the first state is asked for: what it shows. Of
        what too many show to be a set only one thing can be asked: that which the fewest show.
        """
        if self.wanted.sort == "date" and (self.asks.limits() or not self.wanted.descending):
            return self.asks.limits(), self.asks.traces()
        shown = self.asks.shown()
        if len(shown) < 2:
            return shown, []
        counts = self.sample.numbers(shown)
        many = [each for each in counts if each > RARE]
        itself = shown[counts.index(min(many) if many else max(counts))]
        return [itself], [each for each in shown if each is not itself]

    def _among(self, bound: Bound, always: Sequence[str], shown: Shown) -> str:
        where = _where([*always, shown(bound)])
        return f"{HASH} IN (SELECT {HASH} FROM {self.states} {where})"

    def _is_rare(self, shown: Shown) -> bool:
        return self.sample.number(shown) <= RARE

    def _bound(self) -> Bound:
        bound = Bound()
        bound.conditions += self.asks.always(bound)
        return bound


def _where(conditions: Sequence[str]) -> str:
    """Return the clauses that ask conditions, of a tenant first, and then in texts.

    The engine would begin with what is smallest on disk, which may be the texts, and to search one
    costs more than all else: 110 to 70 ms for a status at a domain, of 5 million states.
    """
    tenant, *others = conditions
    texts = [each for each in others if each.startswith(SEARCH)]
    if not texts or len(texts) == len(others):
        return f"WHERE {' AND '.join(conditions)}"
    first = [each for each in others if each not in texts]
    return f"PREWHERE {' AND '.join([*first, *texts])} WHERE {tenant}"
