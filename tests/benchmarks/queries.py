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
from tests.benchmarks.questions import ENOUGH, Asked, answer, plain_answer, questions, sample
from tests.benchmarks.report import BenchmarkError, percentile
from tests.system import DATABASE, System, running, wait_for

NAME = "queries"
SEED = 1
DAY = 86_400  # seconds: the feed is stopped before
#: Messages of the feed that are there when the first question is asked, in seconds of it.
AHEAD = 5
#: Of what the feed has sent in the end, how much is written, at least: the worker kept up.
WRITTEN = 0.9


class Feed(latency.Feed):
    """Facts as a busy day has them: of each four a new email is sent and delivered, two old opened.

    New ones are to new addresses, about records that have emails already.
    """

    SUBJECT = "The lesson on Thursday has moved"  # no text that is looked for

    def __init__(self, system, rate, records):
        self._dice, self._records = Random(SEED), records
        self._old = system.rows(
            f"SELECT message_id, recipient FROM {DATABASE}.events WHERE tenant_id = '{BIG}' "
            "AND channel = 'email' AND kind = 'open' LIMIT 1 BY cityHash64(recipient) % 20000"
        )
        super().__init__(system, BIG, rate, DAY)

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
        """Return a later fact of a message."""
        return (
            f'{{"channel":"email","kind":"{kind}","tenant_id":"{self.tenant}",'
            f'"message_id":"{message_id}","recipient":"{recipient}",'
            f'"occurred_at":"{datetime.now(UTC).isoformat()}"}}'
        )


class Past(NamedTuple):
    """A system with a history in it, and how often to ask of it."""

    system: System
    messages: int
    facts: int
    end: datetime
    runs: int

    def asked(self, questions):
        """Return questions with the emails that they take their values from."""
        sent = sample(self.system, Random(SEED), self.messages, self.runs)
        return [Asked(each, Random(each.name), sent, []) for each in questions]


@contextmanager
def loaded(options, console) -> Iterator[Past]:
    """Give a system with the history of a benchmark of pages."""
    count = options.present(10_000_000, 200_000)
    if count < 10_000:
        raise BenchmarkError(f"of {count:,} messages some pages are empty; take 10,000 or more")
    end = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        console.print(f"loading {count:,} messages")
        filled(system.client, Target(DATABASE), count, console, end=end)
        facts = system.value(f"SELECT count() FROM {DATABASE}.events")
        yield Past(system, count, facts, end, options.runs or (20 if options.quick else 200))


def run(options, console):
    with loaded(options, console) as past:
        asked = past.asked(questions(past.end))
        console.print(f"checking an answer to each of {len(asked)} questions")
        for each in asked:
            check(past.system, each)
        with fed(past.system, options.feed, past.messages) as said:
            in_turn(asked, past.runs, lambda each: timed(past.system.client, each), console)
    return result(
        "Pages of one tenant", [row(each) for each in asked], [ran(past.runs), said[0]], past
    )


def in_turn(asked, runs, ask, console):
    """Ask all questions in turn, so many times; keep what each took, which `ask` returns."""
    for number in range(runs):
        for each in asked:
            if not each.lost(runs):
                each.taken.append(ask(each))
        if (number + 1) % max(1, runs // 10) == 0:
            console.print(f"{number + 1} of {runs} runs")


def ran(runs):
    return f"{runs} runs, fewer of what took {ENOUGH} s in vain; other values each time"


def check(system, asked):
    """Raise `BenchmarkError` if an answer is not that of the whole view."""
    wanted = asked.apart()
    got, right = answer(system.client, wanted), plain_answer(system, wanted)
    if got != right or not got:
        raise BenchmarkError(
            f"{asked.question.name}: {len(got)} rows are not the {len(right)} of the view: {wanted}"
        )


@contextmanager
def fed(system, rate, messages) -> Iterator[list[str]]:
    """Have a worker write a feed meanwhile; give what is to be said of it, once it has ended.

    Raises `BenchmarkError` if the worker ended or did not keep up.
    """
    said = ["no feed"]
    if not rate:
        yield said
        return
    written = f"SELECT count() FROM {DATABASE}.events WHERE source_topic != '{TOPIC}'"
    worker = system.worker()
    feed = Feed(system, rate, people(messages))
    wait_for(lambda: feed.done() or system.value(written) >= AHEAD * rate, "the feed to be written")
    before, begun = system.value(written), time.monotonic()
    yield said
    there, seconds = system.value(written), time.monotonic() - begun
    sent = feed.sent()
    feed.stop()
    if there < WRITTEN * sent or not worker.running:
        raise BenchmarkError(
            f"the worker wrote {there:,} of the {sent:,} facts of the feed: {system.output(worker)}"
        )
    said[0] = f"feed: {(there - before) / seconds:,.0f} facts a second written meanwhile"


def timed(client, asked):
    """Return the milliseconds of an answer. Raises `BenchmarkError` if there is none."""
    wanted = asked.next()
    begun = time.perf_counter()
    rows = answer(client, wanted)
    taken = (time.perf_counter() - begun) * 1000
    if not rows:  # every value is of a message that is there
        raise BenchmarkError(f"{asked.question.name}: nothing came back: {wanted}")
    return taken


def row(asked):
    p95, goal = percentile(asked.taken, 0.95), asked.question.goal
    return {
        "question": asked.question.name, "p50_ms": percentile(asked.taken, 0.5), "p95_ms": p95,
        "max_ms": max(asked.taken), "goal_ms": goal, "met": "yes" if p95 <= goal else "no",
        "runs": len(asked.taken), "share": 100 * p95 / goal,
    }  # fmt: skip


def result(title, rows, notes, past):
    missed = sum(each["met"] == "no" for each in rows)
    return {
        "title": f"{title}, with {past.messages:,} messages and {past.facts:,} facts",
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
