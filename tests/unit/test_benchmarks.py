"""What the benchmarks say about their figures: rates, percentiles, slopes, comparisons."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from random import Random

import pytest

from processor.intake.decoder import Decoder
from processor.settings import IntakeSettings
from projections.queries.listing import Filter
from schemas.providers import adapters
from tests.benchmarks import adapters as costs
from tests.benchmarks.__main__ import arguments, benchmark_descriptions
from tests.benchmarks.api_client import page_path
from tests.benchmarks.intake import MEASURED, compared, result, same_rows, speed
from tests.benchmarks.measure import NO_JOURNAL, filesystem, machine
from tests.benchmarks.questions import (
    PAGE_MS,
    RECORD_MS,
    Question,
    QuestionRun,
    Sent,
    page,
    pages,
    questions,
)
from tests.benchmarks.report import BenchmarkError, Options, percentile, summary, table, write


def rows_of_log(value):
    return {"events": 10, "email_log": value, "sms_log": 2}


def test_a_percentile_is_one_of_the_values():
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1.0) == 100
    assert percentile([7.0], 0.01) == 7


def test_rounds_become_their_median_and_their_spread():
    assert summary([3.0, 1.0, 2.0], "x") == {"x": 2.0, "x_low": 1.0, "x_high": 3.0}


def test_the_rate_of_a_steady_run_does_not_depend_on_the_size_of_its_writes():
    # 100 events a second: a hundred writes, or eight with the last one waited for.
    small = [(0.0, 0), *((5.0 + each / 10, each * 10) for each in range(1, 101))]
    large = [(0.0, 0), *((5.0 + each * 1.2, each * 120) for each in range(1, 9)), (30.0, 1000)]
    assert speed(small, 1000) == pytest.approx(100)
    assert speed(large, 1000) == pytest.approx(100)


def test_a_run_of_one_write_has_a_rate_too():
    assert speed([(0.0, 0), (2.0, 1000)], 1000) == pytest.approx(500)


def test_what_is_not_measured_of_a_system_is_left_out_of_its_row():
    one = dict.fromkeys((*MEASURED, "committed_after"), 1.0)
    rows = result({"sendlog": [one, one], "limit": [one | {"worker_peak_mb": None}]}, raw=False)
    assert rows["rows"][0]["worker_peak_mb"] == 1
    assert "worker_peak_mb" not in rows["rows"][1]
    assert table(rows).row_count == 2
    assert "sendlog had decided on all of it 1 s later" in rows["notes"]


def test_systems_that_give_other_rows_fail_the_run():
    same_rows({"sendlog": [rows_of_log(1)], "peer": [rows_of_log(1)], "limit": [{"events": 10}]})
    with pytest.raises(BenchmarkError, match="email_log"):
        same_rows({"sendlog": [rows_of_log(1)], "peer": [rows_of_log(1), rows_of_log(3)]})
    with pytest.raises(BenchmarkError, match="events"):
        same_rows({"sendlog": [rows_of_log(1)], "limit": [{"events": 9}]})


def test_the_limit_is_not_a_peer():
    speeds = {"sendlog": 60.0, "stock Faust": 2.0, "plain consumer": 30.0, "limit": 100.0}
    rows = [{"system": name, "events_per_second": speed} for name, speed in speeds.items()]
    [note] = compared(rows)
    assert "30.00 times stock Faust" in note
    assert "0.60 times limit" in note
    assert "2.00 times the best peer (plain consumer)" in note


def test_results_are_kept_as_json_with_the_machine_they_were_measured_on(tmp_path):
    measured = {"title": "t", "rows": [{"system": "a", "speed": 1.5}, {"system": "b"}], "more": 1}
    assert table(measured).row_count == 2
    (file,) = write("small", measured, machine(), tmp_path)
    kept = json.loads(file.read_text())
    assert kept["rows"] == measured["rows"]
    assert kept["more"] == 1
    assert kept["machine"]["cores"] >= 1
    assert kept["machine"]["kafka"]


def test_a_size_that_is_asked_for_goes_before_the_quick_one():
    assert Options(quick=True).sized(10, 2) == 2
    assert Options(quick=True, events=5).sized(10, 2) == 5
    assert Options(quick=True).repeated() == 1
    assert Options(quick=True).present(10, 2) == 2
    assert Options(messages=(3, 7)).present(10, 2) == 7
    assert Options(only=("limit",)).wants("limit")
    assert not Options(only=("limit",)).wants("sendlog")


def test_a_question_is_given_up_only_when_its_goal_is_missed_and_it_took_long():
    question = Question("a page", 300, lambda *_: None)

    def lost(*taken):
        return QuestionRun(question, None, [], list(taken)).lost(100)

    assert lost(*[25_000] * 6)
    assert not lost(*[25_000] * 5)  # the other 95 may be quick enough
    assert not lost(*[400] * 50)


def test_sizes_are_given_with_commas_or_one_by_one():
    assert arguments(["growth", "--messages", "0,5", "--messages", "7"]).messages == [0, 5, 7]
    with pytest.raises(SystemExit):
        arguments(["growth", "--messages", "many"])


def test_every_benchmark_is_found_without_importing_it():
    assert {"intake", "queries", "api"} <= set(benchmark_descriptions())


def test_every_adapter_has_its_cost_and_so_have_the_events_of_mailers():
    decoder = Decoder(IntakeSettings(), max_record_bytes=8_388_608)
    rows = [row for provider in adapters() for row in costs.feeds(provider, decoder, 1)]
    assert {row["what"].partition(",")[0] for row in rows} == set(adapters())
    rows += costs.mailer_events(decoder, 1)
    assert all(row["microseconds"] > 0 for row in rows)


def test_a_page_is_asked_of_the_api_by_its_filters_and_order():
    newest = ("date", True)
    assert page_path(page(newest)) == "/api/v1/logs/email?sort=date&order=desc&limit=50"
    record = page(newest, [Filter("record_id", "=", "F-7")])
    assert page_path(record).startswith("/api/v1/logs/email?record_id=F-7&sort=date")
    days = page(("status", False), [Filter("date", ">=", "2026-11-01T00:00:00+00:00"),
                                    Filter("subject", "~", "a&b")])  # fmt: skip
    assert page_path(days) == (
        "/api/v1/logs/email?filter=date%3E%3D2026-11-01T00%3A00%3A00%2B00%3A00&filter=subject~a%26b"
        "&sort=status&order=asc&limit=50"
    )


def test_the_questions_about_pages_are_all_but_the_counts():
    end = datetime(2026, 11, 24, tzinfo=UTC)
    about_pages, about_all = list(pages(end)), list(questions(end))
    assert [each.name for each in about_pages] == [each.name for each in about_all[:-1]]
    assert {question.goal for question in about_pages} == {RECORD_MS, PAGE_MS}
    sent = [Sent("person.1@example1.com", "F-1", "Tickets 12345")]
    for question in about_pages:
        question_run = QuestionRun(question, Random(1), sent, [])
        assert page_path(question_run.apart()).startswith("/api/v1/logs/email?")
        assert question_run.apart() == question_run.apart()


@pytest.mark.parametrize(
    ("journal", "folder", "kind"),
    [
        ("vda1-8", "/nowhere", "ext4"), ("vda2-8", "/nowhere", NO_JOURNAL),
        ("vda1-8", "/nowhere/x/y", "tmpfs"),
    ],
)  # fmt: skip
def test_a_filesystem_is_that_of_the_innermost_mount_and_ext4_may_have_no_journal(
    tmp_path, journal, folder, kind
):
    mounts = "/dev/vda1 / ext4 rw 0 0\nnone /nowhere/x tmpfs rw 0 0\n/dev/vdb /v xfs rw 0 0\n"
    (tmp_path / "mounts").write_text(mounts)
    (tmp_path / "fs/jbd2" / journal).mkdir(parents=True)
    assert filesystem(folder, tmp_path) == kind
