"""The page of experiments: each number that a comment or a page cites is on it, once."""

from __future__ import annotations

import re

from tests.paths import ROOT

PAGE = (ROOT / "tests/benchmarks/EXPERIMENTS.md").read_text("utf-8")
#: Number, question, result, and whether it was kept.
ROWS = re.findall(r"^\| (E-\d+) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
NUMBERS = [number for number, *_ in ROWS]
FOLDERS = ("schemas", "projections", "processor", "deploy", "tests")


def citing_files():
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    return [path for path in (*ROOT.glob("*.md"), *inside) if path.suffix in {".md", ".py"}]


def test_each_number_that_is_cited_is_on_the_page():
    cited = {
        (number, str(path.relative_to(ROOT)))
        for path in citing_files()
        for number in re.findall(r"\bE-0\d+\b", path.read_text("utf-8"))
    }
    assert len({path for _, path in cited}) > 10
    assert [place for place in sorted(cited) if place[0] not in NUMBERS] == []


def test_numbers_are_used_once_and_none_is_left_out():
    assert sorted(NUMBERS) == [f"E-{number:03}" for number in range(1, len(NUMBERS) + 1)]


def test_each_experiment_says_whether_it_was_kept():
    unclear = [number for number, *_, kept in ROWS if not re.match(r"(yes|no|partly)\b", kept)]
    assert ROWS
    assert unclear == []


def test_all_rows_of_the_page_are_read():
    assert len(ROWS) == PAGE.count("\n| E-")
