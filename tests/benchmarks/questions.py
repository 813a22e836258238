"""What people ask of a log, with other values each time: pages of it, and counts over a month.

Values are of messages that are there, drawn from the history, so that no page has to be empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from projections.queries.counts import Period, daily_counts
from projections.queries.listing import SORTS, Filter, Listing, listing_sql
from projections.queries.page import read_listing
from projections.tables import log_of
from tests.benchmarks.load import BIG, TOPIC, YEAR_SECONDS
from tests.system import DATABASE

#: Milliseconds that 95 of 100 runs may take.
RECORD_MS, PAGE_MS, COUNTS_MS = 60, 300, 300
#: After so long a question that misses its goal, whatever comes, is asked no more.
MAX_VAIN_SECONDS = 120
PAGE_ROWS = 50
YEAR = timedelta(seconds=YEAR_SECONDS)
ORDERS = [(sort, descending) for sort in SORTS for descending in (True, False)]
NEWEST = ("date", True)
#: The other orders in which a page with a filter is asked for, one of them drawn for each run.
OTHERS = {
    "other order": [("date", False), ("recipient", True), ("recipient", False)],
    "by status": [("status", True), ("status", False)],
}
_ORDER = {True: "backwards", False: "forwards"}
_WORDS = ("invoice", "reminder", "newsletter", "tickets", "welcome", "schedule")


class Sent(NamedTuple):
    """An email of the history, as far as questions name it."""

    recipient: str
    record_id: str
    subject: str


class Month(NamedTuple):
    """Counts per day and status of emails from one day on, before another."""

    since: datetime
    until: datetime


class Question(NamedTuple):
    """A question: its name, its goal in milliseconds, and what makes it of dice and an email."""

    name: str
    goal: int
    make: Callable[[Random, Sent], Listing | Month]


def sample(system, dice: Random, messages: int, size: int) -> list[Sent]:
    """Return some emails of the big tenant, the same for the same dice, whose subjects are rare."""
    numbers = [2 * dice.randrange(messages // 2) for _ in range(4 * size + 20)]
    rows = system.rows(
        f"SELECT recipient, record_id, subject FROM {DATABASE}.events WHERE tenant_id = '{BIG}' "
        f"AND channel = 'email' AND kind = 'queued' AND source_topic = '{TOPIC}' "
        # A number of five figures is in no other number.
        "AND match(subject, '[0-9]{5}$') "
        "AND source_offset IN ({numbers:Array(Int64)}) ORDER BY source_offset",
        numbers=numbers,
    )
    sent = [Sent(**row) for row in rows]
    dice.shuffle(sent)
    return sent[:size]


def questions(end: datetime) -> Iterator[Question]:
    """Yield all questions about a history whose year ends at `end`."""
    yield from pages(end)
    yield Question("counts per day and status of 30 days", COUNTS_MS,
                   lambda dice, _: Month(*days(dice, end, 30, 30)))  # fmt: skip


def days(dice, end, longest, shortest=1):
    """Return the beginning and end of some days of the year before `end`."""
    length = timedelta(days=dice.randint(shortest, longest))
    return (since := end - YEAR + dice.random() * (YEAR - length)), since + length


def pages(end: datetime) -> Iterator[Question]:
    """Yield the questions about pages: of a record, and of the tenant in all orders, filtered."""

    def dated(dice, _):
        since, until = days(dice, end, longest=30)
        return [Filter("date", ">=", since.isoformat()), Filter("date", "<", until.isoformat())]

    filters = {
        "rare text in subject": lambda _, sent: [contains("subject", sent.subject.lower())],
        "common text in subject": lambda dice, _: [contains("subject", common(dice))],
        "an address": lambda _, sent: [contains("recipient", sent.recipient[3:-4])],
        "domain of an address": lambda _, sent: [
            contains("recipient", sent.recipient.partition("@")[2])
        ],
        "some days": dated,
    } | {f"status {status}": of_status(status) for status in statuses()}

    yield Question("a record's page", RECORD_MS, lambda _, sent: page(
        NEWEST, [Filter("record_id", "=", sent.record_id)]))  # fmt: skip
    for sort, descending in ORDERS:
        yield Question(f"by {sort}, {_ORDER[descending]}", PAGE_MS,
                       lambda *_, order=(sort, descending): page(order))  # fmt: skip
    for name, make in filters.items():
        yield Question(f"{name}, newest first", PAGE_MS,
                       lambda dice, sent, make=make: page(NEWEST, make(dice, sent)))  # fmt: skip
        for called, orders in OTHERS.items():
            yield Question(f"{name}, {called}", PAGE_MS,
                           lambda dice, sent, make=make, orders=orders:
                           page(dice.choice(orders), make(dice, sent)))  # fmt: skip


def page(order, filters=()):
    sort, descending = order
    return Listing(channel="email", tenant=BIG, filters=tuple(filters), sort=sort,
                   descending=descending, limit=PAGE_ROWS)  # fmt: skip


def contains(column, text):
    return Filter(column, "~", text)


def common(dice):
    """Return a text that one in six subjects has, or one in fifty."""
    return dice.choice(_WORDS) + dice.choice(("", f" {dice.randint(1, 4)}"))


def of_status(status):
    return lambda *_: [Filter("status", "=", status)]


def statuses():
    return sorted({rule.status for rule in log_of("email").rules})


def answer(client, query):
    """Return the rows of the answer, as the product gives it."""
    match query:
        case Listing():
            return list(read_listing(client, DATABASE, query))
        case Month():
            return daily_counts(client, DATABASE, Period("email", BIG, query.since, query.until))


def plain_answer(system, query):
    """Return what `answer` must, by reading the whole view of the log."""
    if isinstance(query, Listing):
        sql, values = listing_sql(query, DATABASE)
        return system.rows(sql, **values)
    rows = system.rows(
        f"SELECT toDate(date) AS day, status, count() AS messages FROM {DATABASE}.email_log "
        f"WHERE tenant_id = '{BIG}' AND date >= {{since:DateTime64(3, 'UTC')}} "
        "AND date < {until:DateTime64(3, 'UTC')} GROUP BY day, status ORDER BY day, status",
        since=query.since, until=query.until,
    )  # fmt: skip
    return [tuple(row.values()) for row in rows]


class QuestionRun(NamedTuple):
    """A question with the emails it takes its values from, and what its answers took."""

    question: Question
    dice: Random
    sent: list[Sent]
    taken: list[float]  # milliseconds

    def next(self):
        """Return the question with other values."""
        return self.question.make(self.dice, self.sent[len(self.taken) % len(self.sent)])

    def apart(self):
        """Return the question with values of their own: what is checked is in no cache later."""
        return self.question.make(Random(f"check {self.question.name}"), self.sent[-1])

    def lost(self, runs):
        """Whether so many runs were too slow that the others change nothing, and it took long."""
        slow = sum(taken > self.question.goal for taken in self.taken)
        return slow > 0.05 * runs and sum(self.taken) > MAX_VAIN_SECONDS * 1000
