"""How long pages take over HTTP at 10 million messages with a live feed, and a large export.

The questions are those of `queries`, but for the counts, put to a process of `sendlog api` with one
key over one connection: routing, validation, the query, and the rows as JSON. Then, with the feed
at rest, a million rows are exported as CSV, and the most memory the process had is told before and
after.
"""

from __future__ import annotations

import time
from urllib.parse import urlencode

from tests.benchmarks.asking import serving
from tests.benchmarks.load import BIG
from tests.benchmarks.queries import fed, in_turn, loaded, ran, result, row
from tests.benchmarks.questions import PAGE, RECORD, YEAR, pages, plain_answer
from tests.benchmarks.report import BenchmarkError
from tests.system import DATABASE

NAME = "api"
#: Milliseconds that 95 of 100 runs may take over HTTP.
RECORD_PAGE, TENANT_PAGE = 80, 350
#: Rows of the exports: the first one shows what any export takes, the second what its size does.
EXPORTS = (100_000, 1_000_000)
#: Of all messages, those that are emails of the big tenant.
OURS = 0.45


def run(options, console):
    with loaded(options, console) as past, serving(past.system, BIG) as api:
        goals = {RECORD: RECORD_PAGE, PAGE: TENANT_PAGE}
        asked = past.asked(each._replace(goal=goals[each.goal]) for each in pages(past.end))
        console.print(f"checking an answer to each of {len(asked)} questions")
        for each in asked:
            check(past.system, api, each)
        with fed(past.system, options.feed, past.messages) as said:
            in_turn(asked, past.runs, lambda each: timed(api, each), console)
        exports = [exported(past, api, rows, console) for rows in EXPORTS]
    notes = [ran(past.runs), said[0], *(told(each) for each in exports)]
    found = result("Pages of one tenant over HTTP", [row(each) for each in asked], notes, past)
    return found | {"exports": exports}


def check(system, api, asked):
    """Raise `BenchmarkError` if a page is not that of the whole view."""
    wanted = asked.apart()
    got, right = (
        [(each["message_id"], each["recipient"], each["status"]) for each in rows]
        for rows in (api.rows(wanted), plain_answer(system, wanted))
    )
    if got != right or not got:
        raise BenchmarkError(
            f"{asked.question.name}: {len(got)} rows are not the {len(right)} of the view: {wanted}"
        )


def timed(api, asked):
    """Return the milliseconds of an answer. Raises `BenchmarkError` if there is none."""
    wanted = asked.next()
    begun = time.perf_counter()
    rows = api.rows(wanted)
    taken = (time.perf_counter() - begun) * 1000
    if not rows:  # every value is of a message that is there
        raise BenchmarkError(f"{asked.question.name}: nothing came back: {wanted}")
    return taken


def exported(past, api, rows, console):
    """Export so many rows, about, and return how that went. Raises `BenchmarkError` if some lack.

    They are those of so many days before the history's end.
    """
    until = past.end.replace(microsecond=0)
    since = until - min(1.0, rows / (OURS * past.messages)) * YEAR
    since = since.replace(microsecond=0)
    filters = [f"date>={since.isoformat()}", f"date<{until.isoformat()}"]
    expected = past.system.value(
        f"SELECT count() FROM {DATABASE}.email_log WHERE tenant_id = '{BIG}' "
        "AND date >= {since:DateTime64(3, 'UTC')} AND date < {until:DateTime64(3, 'UTC')}",
        since=since, until=until,
    )  # fmt: skip
    console.print(f"exporting {expected:,} rows")
    before, begun = api.peak(), time.perf_counter()
    path = "/api/v1/logs/email/export?format=csv&"
    lines = api.lines(path + urlencode([("filter", each) for each in filters]))
    seconds = time.perf_counter() - begun
    if lines != expected + 1:
        raise BenchmarkError(f"an export of {expected:,} rows has {lines - 1:,}")
    return {"rows": expected, "seconds": seconds, "peak_before_mb": before,
            "peak_after_mb": api.peak()}  # fmt: skip


def told(export):
    return (
        f"export of {export['rows']:,} rows as CSV: {export['seconds']:,.1f} s; most memory of the "
        f"API {export['peak_before_mb']:,.0f} MB before, {export['peak_after_mb']:,.0f} MB after"
    )
