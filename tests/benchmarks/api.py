"""How long pages take over HTTP at 10 million messages with a live feed, and a large export.

The questions are those of `queries`, but for the counts, put to a process of `sendlog api` with one
key over one connection: routing, validation, the query, and the rows as JSON. Then, with the feed
at rest, a million rows are exported as CSV, and the most memory the process had is told before and
after.
"""

from __future__ import annotations

import time
from urllib.parse import urlencode

from tests.benchmarks.api_client import serving
from tests.benchmarks.load import BIG
from tests.benchmarks.queries import in_turn, live_feed, loaded, result, row, runs_note
from tests.benchmarks.questions import PAGE_MS, RECORD_MS, YEAR, pages, plain_answer
from tests.benchmarks.report import BenchmarkError
from tests.system import DATABASE

NAME = "api"
#: Milliseconds that 95 of 100 runs may take over HTTP.
HTTP_RECORD_MS, HTTP_PAGE_MS = 80, 350
#: Rows of the exports: the first one shows what any export takes, the second what its size does.
EXPORTS = (100_000, 1_000_000)
#: Of all messages, those that are emails of the big tenant.
EMAIL_SHARE = 0.45


def run(options, console):
    with loaded(options, console) as past, serving(past.system, BIG) as api:
        goals = {RECORD_MS: HTTP_RECORD_MS, PAGE_MS: HTTP_PAGE_MS}
        page_questions = (each._replace(goal=goals[each.goal]) for each in pages(past.end))
        runs = past.runs_of(page_questions)
        console.print(f"checking an answer to each of {len(runs)} questions")
        for question_run in runs:
            check(past.system, api, question_run)
        with live_feed(past.system, options.feed, past.messages) as feed_notes:
            in_turn(runs, past.runs, lambda question_run: timed(api, question_run), console)
        exports = [exported(past, api, rows, console) for rows in EXPORTS]
    notes = [runs_note(past.runs), feed_notes[0], *(export_note(export) for export in exports)]
    rows = [row(question_run) for question_run in runs]
    return result("Pages of one tenant over HTTP", rows, notes, past) | {"exports": exports}


def check(system, api, question_run):
    """Raise `BenchmarkError` if a page is not that of the whole view."""
    listing = question_run.apart()
    rows, expected = (
        [(row["message_id"], row["recipient"], row["status"]) for row in rows]
        for rows in (api.rows(listing), plain_answer(system, listing))
    )
    if rows != expected or not rows:
        raise BenchmarkError(
            f"{question_run.question.name}: {len(rows)} rows are not the {len(expected)} of the "
            f"view: {listing}"
        )


def timed(api, question_run):
    """Return the milliseconds of an answer. Raises `BenchmarkError` if there is none."""
    listing = question_run.next()
    begun = time.perf_counter()
    rows = api.rows(listing)
    milliseconds = (time.perf_counter() - begun) * 1000
    if not rows:  # every value is of a message that is there
        raise BenchmarkError(f"{question_run.question.name}: nothing came back: {listing}")
    return milliseconds


def exported(past, api, rows, console):
    """Export so many rows, about, and return how that went. Raises `BenchmarkError` if some lack.

    They are those of so many days before the history's end.
    """
    until = past.end.replace(microsecond=0)
    since = until - min(1.0, rows / (EMAIL_SHARE * past.messages)) * YEAR
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


def export_note(export):
    return (
        f"export of {export['rows']:,} rows as CSV: {export['seconds']:,.1f} s; most memory of the "
        f"API {export['peak_before_mb']:,.0f} MB before, {export['peak_after_mb']:,.0f} MB after"
    )
