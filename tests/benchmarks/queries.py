"""How long the pages people look at take, at 10 million messages and with a live feed.

One tenant holds half of the messages. While its pages are asked for, a worker writes what a
producer sends at an even pace. Every query is asked with other values each time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import NamedTuple

from projections.clickhouse.ddl import Target
from tests.benchmarks import latency
from tests.benchmarks.latency import recipient
from tests.benchmarks.load import BIG, TOPIC, filled, people
from tests.benchmarks.questions import (
    MAX_VAIN_SECONDS,
    QuestionRun,
    answer,
    plain_answer,
    questions,
    sample,
)
from tests.benchmarks.report import BenchmarkError, percentile
from tests.system import DATABASE, System, running, wait_for

NAME = "queries"
SEED = 1
DAY_SECONDS = 86_400  # the feed is stopped before
#: So many seconds of the feed are written when the first question is asked.
LEAD_SECONDS = 5
#: Of what the feed has sent in the end at least this share is written: the worker kept up.
MIN_WRITTEN_SHARE = 0.9


class Feed(latency.Feed):
    """Events of a busy day: of each four a new email is sent and delivered, two old ones opened.

    New ones are to new addresses, about records that have emails already.
    """

    SUBJECT = "The lesson on Thursday has moved"  # no text that is searched for

    def __init__(self, system, rate, records):
        self._dice, self._records = Random(SEED), records
        self._old = system.rows(
            f"SELECT message_id, recipient FROM {DATABASE}.events WHERE tenant_id = '{BIG}' "
            "AND channel = 'email' AND kind = 'open' LIMIT 1 BY cityHash64(recipient) % 20000"
        )
        super().__init__(system, BIG, rate, DAY_SECONDS)

    def record(self):
        return f"F-{self._dice.randrange(self._records)}"

    def value(self, partition, number):
        match number % 4:
            case 0:
                return super().value(partition, number)
            case 1:
                return self.follows(
                    "delivery", f"m-{partition}-{number - 1}", recipient(partition, number - 1)
                )
        return self.follows("open", **self._dice.choice(self._old))

    def follows(self, kind, message_id, recipient):
        """Return a later event of a message."""
        return (
            f'{{"channel":"email","kind":"{kind}","tenant_id":"{self.tenant}",'
            f'"message_id":"{message_id}","recipient":"{recipient}",'
            f'"occurred_at":"{datetime.now(UTC).isoformat()}"}}'
        )


class LoadedSystem(NamedTuple):
    """A system with a history in it, and how often each question is asked."""

    system: System
    messages: int
    events: int
    end: datetime
    runs: int

    def runs_of(self, questions):
        """Return questions with the emails that they take their values from."""
        sent = sample(self.system, Random(SEED), self.messages, self.runs)
        return [QuestionRun(question, Random(question.name), sent, []) for question in questions]


@contextmanager
def loaded(options, console) -> Iterator[LoadedSystem]:
    """Give a system with the history of a benchmark of pages."""
    count = options.present(10_000_000, 200_000)
    if count < 10_000:
        raise BenchmarkError(f"of {count:,} messages some pages are empty; take 10,000 or more")
    end = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        console.print(f"loading {count:,} messages")
        filled(system.client, Target(DATABASE), count, console, end=end)
        events = system.value(f"SELECT count() FROM {DATABASE}.events")
        runs = options.runs or (20 if options.quick else 200)
        yield LoadedSystem(system, count, events, end, runs)


def run(options, console):
    with loaded(options, console) as past:
        runs = past.runs_of(questions(past.end))
        console.print(f"checking an answer to each of {len(runs)} questions")
        for question_run in runs:
            check(past.system, question_run)
        client = past.system.client
        with live_feed(past.system, options.feed, past.messages) as feed_notes:
            in_turn(runs, past.runs, lambda question_run: timed(client, question_run), console)
    rows = [row(question_run) for question_run in runs]
    return result("Pages of one tenant", rows, [runs_note(past.runs), feed_notes[0]], past)


def in_turn(question_runs, runs, measure, console):
    """Ask all questions in turn, so many times; keep what each took, which `measure` returns."""
    for number in range(runs):
        for question_run in question_runs:
            if not question_run.lost(runs):
                question_run.taken.append(measure(question_run))
        if (number + 1) % max(1, runs // 10) == 0:
            console.print(f"{number + 1} of {runs} runs")


def runs_note(runs):
    return f"{runs} runs, fewer of what took {MAX_VAIN_SECONDS} s in vain; other values each time"


def check(system, question_run):
    """Raise `BenchmarkError` if an answer is not that of the whole view."""
    query = question_run.apart()
    rows, expected = answer(system.client, query), plain_answer(system, query)
    if rows != expected or not rows:
        raise BenchmarkError(
            f"{question_run.question.name}: {len(rows)} rows are not the {len(expected)} of the "
            f"view: {query}"
        )


@contextmanager
def live_feed(system, rate, messages) -> Iterator[list[str]]:
    """Have a worker write a feed meanwhile; give a list whose note is complete once it has ended.

    Raises `BenchmarkError` if the worker ended or did not keep up.
    """
    notes = ["no feed"]
    if not rate:
        yield notes
        return
    written = f"SELECT count() FROM {DATABASE}.events WHERE source_topic != '{TOPIC}'"
    worker = system.worker()
    feed = Feed(system, rate, people(messages))
    wait_for(
        lambda: feed.done() or system.value(written) >= LEAD_SECONDS * rate,
        "the feed to be written",
    )
    before, begun = system.value(written), time.monotonic()
    yield notes
    there, seconds = system.value(written), time.monotonic() - begun
    sent = feed.sent()
    feed.stop()
    if there < MIN_WRITTEN_SHARE * sent or not worker.running:
        raise BenchmarkError(
            f"the worker wrote {there:,} of the {sent:,} facts of the feed: {system.output(worker)}"
        )
    notes[0] = f"feed: {(there - before) / seconds:,.0f} facts a second written meanwhile"


def timed(client, question_run):
    """Return the milliseconds of an answer. Raises `BenchmarkError` if there is none."""
    query = question_run.next()
    begun = time.perf_counter()
    rows = answer(client, query)
    milliseconds = (time.perf_counter() - begun) * 1000
    if not rows:  # every value is of a message that is there
        raise BenchmarkError(f"{question_run.question.name}: nothing came back: {query}")
    return milliseconds


def row(question_run):
    taken, goal = question_run.taken, question_run.question.goal
    p95 = percentile(taken, 0.95)
    return {
        "question": question_run.question.name, "p50_ms": percentile(taken, 0.5), "p95_ms": p95,
        "max_ms": max(taken), "goal_ms": goal, "met": "yes" if p95 <= goal else "no",
        "runs": len(taken), "share": 100 * p95 / goal,
    }  # fmt: skip


def result(title, rows, notes, past):
    missed = sum(row["met"] == "no" for row in rows)
    return {
        "title": f"{title}, with {past.messages:,} messages and {past.events:,} facts",
        "columns": {
            "question": ("question", ""), "p50_ms": ("p50 ms", ",.0f"),
            "p95_ms": ("p95 ms", ",.0f"), "max_ms": ("max ms", ",.0f"),
            "runs": ("runs", ",.0f"),
            "goal_ms": ("goal", ",.0f"), "met": ("met", ""),
        },
        "rows": rows,
        "notes": [f"{len(rows) - missed} of {len(rows)} p95 within their goal", *notes],
        "chart": {
            "title": f"{title} with {past.messages:,} messages, while a feed is written",
            "panels": [
                {"title": "how long a page takes", "kind": "groups", "label": "question",
                 "unit": "milliseconds", "values": {"p50_ms": "median", "p95_ms": "95 of 100"}},
                {"title": "beside what it may take", "kind": "bars", "label": "question",
                 "unit": "95 of 100, in percent of the goal", "values": {"share": "95 of 100"},
                 "goal": 100},
            ],
        },
    }  # fmt: skip
