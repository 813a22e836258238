"""Which messages may be on a page, found in the partial states without folding them.

Of what filters ask, some holds of every partial state of a message (its key; a date no earlier),
and some is shown by one of them at least: a text, what a status rests on, a date no later. A scan
may ask one such thing of the states that it reads, and the others by way of the messages that show
them, where those are not too many to be a set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import prod
from typing import TYPE_CHECKING, Final, NamedTuple

from projections.ddl import CHECK, DATED, HASH
from projections.expressions import TIME
from projections.merge import LARGEST
from projections.queries import SEARCH, Bound, Filter, Listing, condition, log_of
from projections.seen import MERGED, SEEN, by_bits, late_sql
from projections.status import trace
from projections.tables import KEY, Projection

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Key = tuple[str, str]  # recipient, message_id
#: A condition on a partial state, once its values are bound.
Shown = Callable[[Bound], str]

#: Messages that show something, up to which their hashes are worth a set: 8 bytes each.
RARE: Final = 400_000
#: So many times more states than are few, as judged by a part, surely are not few.
_SURELY: Final = 20
#: States of a tenant by which it is judged how many of all show something.
_SAMPLE: Final = 131_072
#: The share of candidates that a filter is taken to keep whose effect is not known beforehand.
_UNTOLD: Final = 0.1
#: The share of states above which something counts as usual.
_MOSTLY: Final = 0.5
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


class Showing(NamedTuple):
    """About how many states show something, and what share of those that hold all else."""

    states: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The candidates of one listing of a log."""

    client: Client
    database: str
    wanted: Listing
    #: How many states show what, as far as that was asked.
    counted: dict[str, Showing] = field(default_factory=dict)

    @property
    def log(self) -> Projection:
        """The log that is listed."""
        return log_of(self.wanted.channel)

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

    def few(self, most: int) -> list[Candidate] | None:
        """Return all candidates, if what the filters ask is shown by no more than `most` states."""
        for shown in self._shown() or [lambda _: "true"]:
            bound = self._bound()
            bound.conditions.append(shown(bound))
            found = self._found(bound, "", most + 1)
            if len(found) <= most:
                return found
        return None

    def may_be_few(self, most: int) -> bool:
        """Whether `few` may return something: judged by a part of the states, to spare a scan."""
        shown = self._shown()
        return not shown or min(each.states for each in self._count(*shown)) <= _SURELY * most

    def by_date(
        self, number: int, upto: datetime | None = None, *, early: bool = False
    ) -> list[Candidate]:
        """Return `number` states in order of their first time, from `upto` on.

        A message is dated as the first of its states. So going back in time, all messages later
        than the last of these states are among them, and going forward all that are earlier.
        With `early` what seems to be of later facts only is left out: see `late`.
        """
        bound = self._narrowed()
        if early:
            bound.conditions.append(f"NOT {late_sql(self.log)}")
        if upto is not None:
            sign = "<=" if self.wanted.descending else ">="
            bound.conditions.append(f"{DATED} {sign} {bound.bind(upto, TIME)}")
        return self._found(bound, f"ORDER BY {DATED} {self._way}", number)

    @property
    def begin_early(self) -> bool:
        """Whether most states are not late: they are where no mailer tells of its sends."""
        return self._count(lambda _: late_sql(self.log))[0].share < _MOSTLY

    def late(self, upto: datetime | None, known: Sequence[Candidate]) -> list[Candidate]:
        """Return messages whose states `by_date` leaves out, what is `known` apart: the latest.

        Down to `upto`, or `MOST` of them, dated and the latest first. Of the states of later facts
        few are of messages as new as they are: those of which nothing earlier than `upto` is there.
        Unless all are few anyway, which come as they are, these are found by eight bytes each.
        """
        bound = self._narrowed()
        tenant = bound.conditions[0]
        bound.conditions.append(late_sql(self.log))
        since = "true"
        if upto is not None:
            time = bound.bind(upto, TIME)
            bound.conditions.append(f"{DATED} >= {time}")
            since = f"at >= {time}"
        hashes = bound.bind([each.hash for each in known], "Array(UInt64)")
        bound.conditions.append(f"{HASH} NOT IN {hashes}")
        few = self._found(bound, f"LIMIT 1 BY {HASH}", _FEW_LATE + 1)
        if len(few) <= _FEW_LATE:
            return few
        states = f"SELECT {HASH} FROM {self.states} {_where(bound.conditions)}"
        found = self.client.query(
            f"SELECT {HASH}, min({DATED}) AS at FROM {self.states} "
            f"WHERE {tenant} AND {HASH} IN ({states}) GROUP BY {HASH}, {CHECK} HAVING {since} "
            f"ORDER BY at DESC LIMIT {MOST}",
            parameters=bound.values,
        )
        if not found.result_rows:
            return []
        bound = Bound()
        tenant = f"tenant_id = {bound.bind(self.wanted.tenant, 'String')}"
        hashes = bound.bind([row[0] for row in found.result_rows], "Array(UInt64)")
        return self.query(
            f"SELECT recipient, message_id, {HASH}, min({DATED}) AS at, '', {MERGED} "
            f"FROM {self.states} AS part PREWHERE {HASH} IN {hashes} WHERE {tenant} "
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
        bound = Bound()
        bound.conditions.append(f"tenant_id = {bound.bind(self.wanted.tenant, 'String')}")
        if self.wanted.filters or self.wanted.after:
            # By way of the hash: an earlier state may date a message before the dates asked for.
            shown = self._shown() or [lambda _: "true"]
            bound.conditions += [self._among(bound, each) for each in shown]
        return bound

    def these(self, candidates: Sequence[Candidate]) -> tuple[str, Bound]:
        """Return what to look for first, and the rest of a question about some candidates.

        A granule is picked by its recipients, and of that eight bytes a row are read to pick a row.
        Another message of the same recipients may come with them, if its hash is the same.
        """
        bound = Bound()
        bound.conditions.append(f"tenant_id = {bound.bind(self.wanted.tenant, 'String')}")
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

    def share(self) -> float:
        """Return about which share of the candidates in order of the listing the filters keep."""
        untold = any(
            each.column not in {*KEY, "date"} and _trace(self.log, each) is None
            for each in self.wanted.filters
        )
        _, others = self._split()
        return prod(
            [each.share for each in self._count(*others) if each.states > RARE],
            start=_UNTOLD if untold else 1.0,
        )

    def count_statuses(self) -> None:
        """Judge by one look how many states show each status, if that is going to matter."""
        if shown := self._shown():
            statuses = {rule.status for rule in self.log.rules}
            traces = (_trace(self.log, Filter("status", "=", each)) for each in statuses)
            self._count(*shown, *(each for each in traces if each is not None))

    def _narrowed(self) -> Bound:
        """Return the question about what candidates must show, some of it of the state itself."""
        bound = self._bound()
        itself, others = self._split()
        bound.conditions += [each(bound) for each in itself]
        bound.conditions += [self._among(bound, each) for each in others if self._is_rare(each)]
        return bound

    def _split(self) -> tuple[list[Shown], list[Shown]]:
        """Return what to ask of the state that is read, and what of any state of its message.

        A state may show something later than the message is dated: in order of time that will do
        only going back, from the very end. Else the first state is asked for: what it shows.
        """
        if self.wanted.sort == "date" and (self._limits() or not self.wanted.descending):
            return self._limits(), self._traces()
        shown = self._shown()
        if len(shown) < 2:
            return shown, []
        counts = [each.states for each in self._count(*shown)]
        itself = shown[counts.index(max(counts))]
        return [itself], [each for each in shown if each is not itself]

    def _among(self, bound: Bound, shown: Shown) -> str:
        where = _where([*self._always(bound), shown(bound)])
        return f"{HASH} IN (SELECT {HASH} FROM {self.states} {where})"

    def _is_rare(self, shown: Shown) -> bool:
        return self._count(shown)[0].states <= RARE

    def _count(self, *shown: Shown) -> list[Showing]:
        """Return about how many states show each of some things, judged by a part of them."""
        names = [self._name(each) for each in shown]
        new = {n: each for n, each in zip(names, shown, strict=True) if n not in self.counted}
        if new:
            bound = self._bound()
            tenant, always = bound.conditions[0], bound.where
            counts = ", ".join(f"countIf({always} AND {each(bound)})" for each in new.values())
            some = f"SELECT *, {SEEN}, {DATED} FROM {self.states} WHERE {tenant} LIMIT {_SAMPLE}"
            found = self.client.query(
                f"SELECT (SELECT count() FROM {self.states} WHERE {tenant}), count(), "
                f"countIf({always}), {counts} FROM ({some})",
                parameters=bound.values,
            )
            all_, looked_at, holding, *showing = found.result_rows[0]
            for name, number in zip(new, showing, strict=True):
                states = number / max(1, looked_at) * all_
                self.counted[name] = Showing(states, number / max(1, holding))
        return [self.counted[name] for name in names]

    def _name(self, shown: Shown) -> str:
        bound = self._bound()
        return f"{shown(bound)} {bound.values}"

    def _bound(self) -> Bound:
        bound = Bound()
        bound.conditions += self._always(bound)
        return bound

    def _always(self, bound: Bound) -> list[str]:
        """Return what holds of every partial state of a candidate."""
        holds = [f"tenant_id = {bound.bind(self.wanted.tenant, 'String')}"]
        for each in self.wanted.filters:
            if each.column in KEY:
                holds.append(condition(self.log, each, bound))
            elif each.column == "date" and each.operator in {">", ">=", "="}:
                least = replace(each, operator=each.operator if each.operator == ">" else ">=")
                holds.append(condition(self.log, least, bound, of=DATED))
        after = self.wanted.after
        if after is not None and self.wanted.sort == "date" and not self.wanted.descending:
            holds.append(f"{DATED} >= {bound.bind(after.date, TIME)}")
        return holds

    def _shown(self) -> list[Shown]:
        """Return what some partial state of a candidate shows, each of it."""
        limits = self._limits()
        first: list[Shown] = [lambda bound: " AND ".join(limit(bound) for limit in limits)]
        return self._traces() + (first if limits else [])

    def _traces(self) -> list[Shown]:
        found = (_trace(self.log, each) for each in self.wanted.filters)
        return [each for each in found if each is not None]

    def _limits(self) -> list[Shown]:
        """Return what only the first partial state of a candidate shows: a date no later."""
        after = self.wanted.after
        found = [
            _dated(self.log, each) for each in self.wanted.filters
            if each.column == "date" and each.operator in {"<", "<=", "="}
        ]  # fmt: skip
        if after is not None and self.wanted.sort == "date" and self.wanted.descending:
            found.append(lambda bound: f"{DATED} <= {bound.bind(after.date, TIME)}")
        return found


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


def _dated(log: Projection, wanted: Filter) -> Shown:
    return lambda bound: condition(log, wanted, bound, of=DATED)


def _trace(log: Projection, wanted: Filter) -> Shown | None:
    """Return what some partial state of a message shows that a filter keeps, if there is such."""
    if wanted.operator == "=" and wanted.column == "status":
        shown = by_bits(log, trace(log, wanted.value).sql)
        return lambda _: shown
    reading = log.readings.get(wanted.column)
    if reading is None or wanted.operator not in {"=", "~"} or not wanted.value:
        return None
    for fold in log.folds:
        # The largest of all is the largest of one of them.
        if fold.operator is LARGEST and _is_item(reading.sql, fold.name):
            return lambda bound: condition(log, wanted, bound, of=reading.sql)
    return None


def _is_item(sql: str, name: str) -> bool:
    return sql.startswith(f"tupleElement({name}, ") and sql.endswith(")") and sql.count("(") == 1
