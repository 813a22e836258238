"""A deployment's own rules: read over those that ship, and refused with the place of the fault."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest

from processor.bounce_rules import BounceRulesError, bounce_rules_in_force
from processor.cli.main import main
from processor.intake.decoder import Decoder
from processor.settings import IntakeSettings, load
from schemas.bounces import default_rules
from tests.chunks import chunk_of

OWN = 'rules_version = 7\n[codes]\n"5.1.1" = "soft"\n'
BOUNCE = json.dumps(
    {
        "eventType": "Bounce",
        "mail": {"messageId": "m"},
        "bounce": {
            "bounceType": "Permanent",
            "bouncedRecipients": [{"emailAddress": "a@example.org", "status": "5.1.1"}],
        },
    }
)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return what puts a text into the file that the setting names."""
    path = tmp_path / "own.toml"
    monkeypatch.setenv("SENDLOG_BOUNCE_RULES", str(path))

    def write(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_file_the_shipped_rules_are_in_force(monkeypatch, value):
    monkeypatch.delenv("SENDLOG_BOUNCE_RULES", raising=False)
    if value is not None:
        monkeypatch.setenv("SENDLOG_BOUNCE_RULES", value)
    asked = bounce_rules_in_force(load())
    assert asked.rules == default_rules()
    assert str(asked) == f"version {default_rules().version}"


def test_a_deployments_rules_are_asked_before_the_shipped_ones(file):
    path = file(OWN)
    asked = bounce_rules_in_force(load())
    assert asked.rules.classify_code("5.1.1", "", []) == ("soft", "")
    assert asked.rules.classify_code("5.1.2", "", []) == ("hard", "")
    assert str(asked) == f"version 7 ({path}, over version {default_rules().version})"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('rules_version = 7\n[codes]\n"5.1.1" = "firm"', r"codes\.5\.1\.1: Input should be 'hard'"),
        ("rules_version = 7\n[codes\n", r"not TOML: .*line 2"),
        ('rules_version = 7\n[[hints]]\ncode = "5.5.0"\nclass = "hard"', r"hints\.0\.phrases"),
        ("[codes]", r"rules_version: Field required"),
        (b"\xff\xfe", "not UTF-8"),
        ("codes = " + "[" * 2_000, "nested too deeply"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_line_or_field(file, text, fault):
    path = file(text)
    with pytest.raises(BounceRulesError, match=fault) as refused:
        bounce_rules_in_force(load())
    assert str(refused.value).startswith(f"SENDLOG_BOUNCE_RULES {path}")


def test_a_file_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SENDLOG_BOUNCE_RULES", str(tmp_path / "none.toml"))
    with pytest.raises(BounceRulesError, match=r"none\.toml cannot be read: No such file"):
        bounce_rules_in_force(load())


def test_the_worker_classifies_by_the_rules_it_is_given(file):
    file(OWN)
    record = SimpleNamespace(
        topic="email.events.ses", partition=0, offset=0, value=BOUNCE.encode(),
        timestamp=1_748_779_200_005, headers=[],
    )  # fmt: skip
    classes = [
        Decoder(IntakeSettings(), max_record_bytes=10_000, rules=rules)(chunk_of([record]))
        .events["bounce_class"].to_pylist()
        for rules in (None, bounce_rules_in_force(load()).rules)
    ]  # fmt: skip
    assert classes == [[b"hard"], [b"soft"]]


@pytest.mark.parametrize(
    "command",
    [["worker"], ["normalise", "--batch"], ["publish", "-"], ["rebuild"], ["classify", "x"]],
)
def test_a_wrong_file_stops_every_command_that_goes_by_it(file, monkeypatch, capsys, command):
    file('rules_version = "seven"')
    monkeypatch.setattr("sys.argv", ["sendlog", *command])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert "own.toml: rules_version: Input should be a valid integer" in capsys.readouterr().err


def test_normalise_shows_what_the_rules_make_of_a_payload(file, monkeypatch, capsys):
    file(OWN)
    body = io.TextIOWrapper(io.BytesIO(BOUNCE.encode()))
    monkeypatch.setattr("sys.stdin", body)
    monkeypatch.setattr("sys.argv", ["sendlog", "normalise", "--provider", "ses"])
    with pytest.raises(SystemExit):
        main()
    event = json.loads(capsys.readouterr().out)
    assert (event["bounce_class"], event["classified_by"]) == ("soft", "code")
