"""How long the pages people look at take, at 10 million messages and with a live feed.

One tenant holds half of the messages. While its pages are asked for, a worker writes what a
producer sends at an even pace. Every query is asked with other values each time.
"""

from __future__ import annotations

import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from projections.ddl import Target
from projections.pages import listing
from projections.queries import Filter, Listing, log_of
from projections.statistics import daily_counts
from tests.benchmarks.latency import Feed
from tests.benchmarks.load import BIG, load, quiet
from tests.benchmarks.report import BenchmarkError, percentile
from tests.system import DATABASE, running

NAME = "queries"
RARE = "a rare text in the subject"
FEED = 2_000  # facts a second
RECORD, PAGE, COUNTS = 60, 300, 300  # milliseconds that 95 of 100 may take


def run(options, console):
    count = options.sized(10_000_000, 300_000)
    runs = options.repeated(200) if not options.quick else 20
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        end = datetime.now(UTC)
        for done in load(system.client, Target(DATABASE), count, end=end):
            if done % 1_000_000 == 0:
                console.print(f"{done:,} of {count:,} messages loaded")
        quiet(system.client)
        facts = system.value(f"SELECT count() FROM {DATABASE}.events")
        system.worker()
        questions = list(asked(count, end))
        feed = Feed(system, BIG, FEED, 3600)
        rows = []
        for name, goal, ask in questions:
            dice = random.Random(name)
            taken = [timed(ask, system.client, dice, name) for _ in range(runs)]
            rows.append({
                "question": name, "p50_ms": percentile(taken, 0.5),
                "p95_ms": percentile(taken, 0.95), "max_ms": max(taken), "goal_ms": goal,
                "met": "yes" if percentile(taken, 0.95) <= goal else "no",
            })  # fmt: skip
            console.print(f"{name}: {rows[-1]['p95_ms']:,.0f} ms")
        feed.stop()
    return {
        "title": f"Pages of one tenant at {count:,} messages, {facts:,} facts, and a live feed",
        "columns": {
            "question": ("question", ""), "p50_ms": ("p50 ms", ",.0f"),
            "p95_ms": ("p95 ms", ",.0f"), "max_ms": ("max ms", ",.0f"),
            "goal_ms": ("goal", ",.0f"), "met": ("met", ""),
        },
        "rows": rows,
        "notes": [f"{runs} runs each, other values each time; feed: {FEED:,} facts a second"],
        "chart": {
            "title": f"Pages of one tenant at {count:,} messages, while a feed is written",
            "panels": [
                {"title": "how long a page takes", "kind": "groups", "label": "question",
                 "unit": "milliseconds", "values": {"p50_ms": "median", "p95_ms": "95 of 100"},
                 "goal": PAGE},
            ],
        },
    }  # fmt: skip


def timed(ask, client, dice, name):
    begun = time.monotonic()
    rows = ask(client, dice)
    taken = (time.monotonic() - begun) * 1000
    if not rows and name != RARE:  # some words and numbers have never met
        raise BenchmarkError(f"{name}: nothing came back")
    return taken


def asked(count, end):
    """Yield each question's name, its goal in milliseconds, and what asks it."""
    people = max(2, count // 20) // 2
    rare = max(10, min(1000, count // 10_000))

    def page(sort="date", *, descending=True, filters=lambda _: ()):
        def ask(client, dice):
            wanted = Listing(
                channel="email", tenant=BIG, sort=sort, descending=descending,
                filters=[Filter.parse(each) for each in filters(dice)],
            )  # fmt: skip
            return list(listing(client, DATABASE, wanted))

        return ask

    def of_record(dice):
        return [f"record_id=F-{dice.randrange(people)}"]

    def rare_text(dice):
        word = dice.choice(("oice", "inder", "ickets"))
        return [f"subject~{word} {dice.randrange(rare, 5 * rare)}"]

    def common_text(dice):
        return [f"subject~{dice.choice(('invoice', 'letter', 'ched'))}"]

    def days(dice):
        start = end - timedelta(days=dice.randrange(10, 360))
        return [f"date>={start:%Y-%m-%d}", f"date<{start + timedelta(days=7):%Y-%m-%d}"]

    def counts(client, dice):
        start = end - timedelta(days=dice.randrange(30, 360))
        return daily_counts(client, DATABASE, "email", BIG, start, start + timedelta(days=30))

    yield "a record's page", RECORD, page(filters=of_record)
    yield "newest first", PAGE, page()
    yield "oldest first", PAGE, page(descending=False)
    yield "by recipient", PAGE, page("recipient", descending=False)
    yield "by recipient, backwards", PAGE, page("recipient")
    yield "by status", PAGE, page("status", descending=False)
    yield "by status, backwards", PAGE, page("status")
    for status in sorted({rule.status for rule in log_of("email").rules}):
        yield f"status {status}", PAGE, page(filters=lambda _, s=status: [f"status={s}"])
    yield RARE, PAGE, page(filters=rare_text)
    yield "a common text in the subject", PAGE, page(filters=common_text)
    yield "part of an address", PAGE, page(
        filters=lambda dice: [f"recipient~son.{dice.randrange(people)}"])  # fmt: skip
    yield "a week", PAGE, page(filters=days)
    yield "counts per day and status of 30 days", COUNTS, counts
