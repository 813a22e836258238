"""The commands that need neither broker nor engine: `sendlog classify` and `sendlog providers`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from processor.cli import main as cli
from processor.cli.times import parse_since
from projections.queries.listing import QueryError
from schemas.bounces import default_rules
from schemas.providers import adapters

OVER = f"over version {default_rules().version}"


def run(*arguments: str, width: int = 80) -> str:
    result = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": str(width)})
    assert result.exit_code == 0, result.output
    return result.stdout


def classify(*arguments: str) -> dict[str, str]:
    """Return what `sendlog classify` prints, by the name of the line."""
    return {line[:10].strip(): line[10:] for line in run("classify", *arguments).splitlines()}


def error_of(monkeypatch, capsys, *arguments: str) -> str:
    """Return the one line that the program ends with."""
    monkeypatch.setattr(sys, "argv", ["sendlog", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    assert stopped.value.code == 1
    assert not printed.out
    (line,) = printed.err.splitlines()
    return line


# ---------------------------------------------------------------------- classify


def test_a_file_of_replies_is_judged_line_by_line(tmp_path):
    file = tmp_path / "replies"
    file.write_text("550 5.1.1 user unknown\n\n552 5.2.2 mailbox full\n550 refused\n")
    result = CliRunner().invoke(cli.app, ["classify", "--file", str(file)])
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["hard", "code"], ["soft", "code"], ["block", "refusal"],
    ]  # fmt: skip
    assert result.stderr == "3 replies: 1 hard, 1 soft, 1 block\n"


def test_a_file_that_is_not_there_is_named(tmp_path):
    result = CliRunner().invoke(cli.app, ["classify", "--file", str(tmp_path / "none")])
    assert "no such file" in str(result.exception)


def test_a_code_in_the_text_decides_and_is_told_in_plain_words() -> None:
    assert classify("smtp; 550 5.1.1 user unknown") == {
        "class": "hard",
        "rests on": "code",
        "codes": "550 5.1.1 (in the text)",
        "reason": "550 5.1.1 mailbox does not exist",
        "rules": f"version {default_rules().version}",
    }


def test_given_codes_and_those_in_the_text_are_told_apart() -> None:
    verdict = classify("550 5.2.1 disabled", "--enhanced", "4.2.2", "--smtp", "452")
    assert verdict["class"] == "soft"
    assert verdict["codes"] == "452 4.2.2 (given), 550 5.2.1 (in the text)"
    assert verdict["reason"] == "452 4.2.2 mailbox full"


def test_a_phrase_decides_where_no_code_does_and_stays_on_its_line() -> None:
    verdict = classify("the mailbox\n  full again")
    assert (verdict["class"], verdict["rests on"], verdict["codes"]) == ("soft", "text", "none")
    assert verdict["reason"] == 'the text says "mailbox full"'


def test_the_label_decides_last() -> None:
    verdict = classify("delivery error", "--label", "block")
    assert (verdict["class"], verdict["rests on"]) == ("block", "label")
    assert classify("--enhanced", "5.1.1", "--label", "soft")["reason"].endswith(
        "(the label, soft, was overruled)"
    )


def test_a_bounce_that_says_nothing_is_undetermined() -> None:
    verdict = classify("delivery error")
    assert (verdict["class"], verdict["rests on"]) == ("undetermined", "nothing")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--enhanced", "5.1"], "--enhanced '5.1' is no enhanced status code; write it as 5.1.1"),
        (["--enhanced", ""], "--enhanced '' is no"),
        (["--enhanced", "5.1.1 user unknown"], "is no enhanced status code"),
        (["--smtp", "99"], "--smtp '99' is no SMTP reply code; write it as 550"),
        (["--smtp", "high"], "--smtp 'high'"),
        (["--label", "fatal"], "--label 'fatal' is no class; it takes hard, soft, block"),
        ([], "nothing to classify"),
        (["x", "--rules", "/does/not/exist.toml"], "--rules /does/not/exist.toml cannot be read"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, problem, monkeypatch, capsys) -> None:
    assert problem in error_of(monkeypatch, capsys, "classify", *arguments)


def test_rules_of_a_deployment_are_asked_before_the_built_in_ones(tmp_path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('rules_version = 7\n[phrases]\nblock = ["code red"]\n', "utf-8")
    verdict = classify("550 Code Red", "--label", "hard", "--rules", str(file))
    assert (verdict["class"], verdict["rests on"]) == ("block", "text")
    assert verdict["rules"] == f"version 7 ({file}, {OVER})"
    assert classify("550 5.1.1 gone", "--rules", str(file))["class"] == "hard"


@pytest.mark.parametrize(
    ("toml", "entry"),
    [
        (b"rules_version = 2\n[codes]\n'5.1.1' = 'fatal'", "codes.5.1.1: "),
        (b"rules_version = 2\n[phrases]\nhard = ['no']", "phrases.hard.0: "),
        (b"[codes]\n'5.1.1' = 'hard'", "rules_version: "),
        (b"rules_version = 2\n[codes", "is not TOML: "),
        (b"rules_version = 2 # \xff", "is not UTF-8"),
    ],
)
def test_an_error_in_a_rules_file_names_the_entry(
    toml, entry, tmp_path, monkeypatch, capsys
) -> None:
    file = tmp_path / "own.toml"
    file.write_bytes(toml)
    line = error_of(monkeypatch, capsys, "classify", "x", "--rules", str(file))
    assert line.startswith(f"sendlog: --rules {file}")
    assert entry in line


# --------------------------------------------------------------------- providers


def test_every_adapter_is_listed_with_its_topic_and_what_it_is() -> None:
    rows = [json.loads(line) for line in run("providers", "--format", "json").splitlines()]
    assert {row["provider"] for row in rows} == set(adapters())
    for row in rows:
        adapter = adapters()[row["provider"]]
        assert row["channel"] == adapter.CHANNEL
        assert row["topic"] == f"{adapter.CHANNEL}.events.{adapter.PROVIDER}"
        assert row["about"]
        assert adapter.__doc__.startswith(row["about"] + "\n")


def test_the_table_fits_a_terminal_and_breaks_no_name() -> None:
    table = run("providers")
    lines = table.splitlines()
    assert max(map(len, lines)) <= 80
    named = [line.split()[:3] for line in lines[1:] if not line.startswith(" ")]
    assert named == sorted(
        ([a.PROVIDER, a.CHANNEL, f"{a.CHANNEL}.events.{a.PROVIDER}"] for a in adapters().values()),
        key=lambda row: (row[1], row[0]),
    )


def test_what_an_adapter_is_stands_on_one_line_where_there_is_room() -> None:
    wide = run("providers", width=200)
    assert len(wide.splitlines()) == len(adapters()) + 1
    assert '`{"msys": {class: event}}`' in wide


# ---------------------------------------------------------------------- sendlog


def test_the_help_names_every_command_and_imports_none_of_them() -> None:
    program = (
        "import sys; from processor.cli import main; main.app(['--help'], standalone_mode=False); "
        "print(*sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "300"},
    ).stdout  # fmt: skip
    *shown, modules = out.splitlines()
    assert not {"faust", "aiohttp", "fastapi", "kafka", "pyarrow"} & set(modules.split())
    for name in cli._COMMANDS:
        [line] = [line for line in shown if line.startswith(f"│ {name} ")]
        assert len(line.strip("│ ").removeprefix(name).strip()) > 10
    assert run("suppressions", "--help", width=200).count("blacklist") > 2
    assert "No such command 'nothing'" in CliRunner().invoke(cli.app, ["nothing"]).stderr


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version") == f"sendlog {version('sendlog')}\n"


def test_a_time_is_read_as_people_type_it() -> None:
    now = datetime.now(UTC)
    for text, ago in (("30min", timedelta(minutes=30)), ("2w", timedelta(days=14))):
        assert abs(parse_since(text) - now + ago) < timedelta(minutes=1)
    midnight = datetime.combine(now.date(), time(), UTC)
    assert parse_since("yesterday") in {midnight - timedelta(days=1), midnight}
    assert parse_since("2026-11-24T10:00") == datetime(2026, 11, 24, 10, tzinfo=UTC)
    with pytest.raises(QueryError, match="yesterday or 7d"):
        parse_since("7 moons")


# ---------------------------------------------------------------------- log


def test_a_status_that_there_is_none_of_is_a_usage_error_that_names_those_there_are() -> None:
    for channel, status in (("email", "bounced"), ("sms", "Bounce")):
        arguments = ["log", channel, "--tenant", "a", "--status", "Sent", "--status", status]
        result = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})
        assert result.exit_code == 2
        assert f"not '{status}'" in result.stderr
        assert {"email": "Bounce, Click, Open", "sms": "Rejected, Undelivered"}[
            channel
        ] in result.stderr


# ---------------------------------------------------------------------- upgrade


def test_an_upgrade_is_only_previewed_and_of_a_provider_that_there_is(monkeypatch, capsys):
    line = error_of(monkeypatch, capsys, "upgrade")
    assert line == "sendlog: sendlog upgrade writes nothing to history: say --preview"
    line = error_of(monkeypatch, capsys, "upgrade", "--preview", "--provider", "pigeon")
    assert line.startswith("sendlog: --provider 'pigeon' is none; there are: 46elks, ")
