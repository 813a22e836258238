"""`sendlog log` on the real engine: what pipes and terminals get of it, and its options."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from processor.cli import main as cli
from tests.api import complete_events, empty_api
from tests.clickhouse import environment

NOW = datetime.now(UTC)
SUBJECT = "A long subject, \tof two\nlines, with \x1b[31mcolour; " + "x" * 200


@pytest.fixture(scope="module")
def database(engine):
    api = empty_api(engine.url, "command_line")
    api.add_events(complete_events([
        {"channel": "email", "kind": "sent", "message_id": f"m{days}",
         "recipient": f"a{days}@x.example", "occurred_at": NOW - timedelta(days=days),
         "recorded_at": NOW, "subject": SUBJECT, "record_type": "family" if days < 9 else "staff",
         "record_id": "F-1162"}
        for days in (0, 3, 6, 9, 12)
    ], "a"))  # fmt: skip
    return {**environment(engine.url), "SENDLOG_CLICKHOUSE__DATABASE": api.database}


def run(database, *arguments, **settings):
    command = ["log", "email", "--tenant", "a", *arguments]
    return CliRunner().invoke(cli.app, command, env={**database, **settings})


def ids(result):
    assert result.exit_code == 0, result.output
    return [line.rpartition("\t")[2] for line in result.stdout.splitlines()[1:]]


def test_a_pipe_gets_whole_values_between_tabs_and_all_rows(database):
    result = run(database, COLUMNS="40")
    head, first, *_ = result.stdout.splitlines()
    assert head.split("\t") == [
        "date", "recipient", "subject", "status", "status_reason", "message_id",
    ]  # fmt: skip
    values = first.split("\t")
    assert values[2] == SUBJECT.translate({9: "\u2409", 10: "\u240a", 27: "\u241b"})
    assert (values[1], values[3]) == ("a0@x.example", "Sent")
    assert ids(result) == ["m0", "m3", "m6", "m9", "m12"]


def test_a_terminal_gets_a_table_with_what_fits_and_how_many_there_are(database, monkeypatch):
    for module in ("rows", "logs"):
        monkeypatch.setattr(f"processor.cli.{module}.is_terminal", lambda: True)
    result = run(database, "--limit", "2", COLUMNS="80")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\t" not in result.stdout
    assert "\x1b[31m" not in result.stdout
    assert "2 of 5 rows" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--since", "7d"], ["m0", "m3", "m6"]), (["--since", "100h"], ["m0", "m3"]),
        (["--until", "1w"], ["m9", "m12"]), (["--since", "today", "--until", "today"], ["m0"]),
        (["--record", "family/F-1162", "--since", "4d"], ["m0", "m3"]),
        (["--record", "staff/F-1162"], ["m9", "m12"]),
        (["--record", "F-1162"], ["m0", "m3", "m6", "m9", "m12"]),
        (["--status", "Sent", "--status", "Bounce", "--limit", "1"], ["m0"]),
    ],
)  # fmt: skip
def test_options_are_read_as_people_type_them(database, arguments, messages):
    assert ids(run(database, *arguments)) == messages


def test_a_record_is_said_in_one_way(database):
    result = run(database, "--record", "family/1", "--record-id", "2")
    assert "say it or these" in str(result.exception)
