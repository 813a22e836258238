"""Commands are waited for until each has had its effect, or patience is at an end."""

from __future__ import annotations

from itertools import count

import pytest
from pydantic import ValidationError

from processor import suppression_commands
from processor.suppression_commands import Answer, UnansweredError, command, whose
from schemas.addresses import Address

ANN = Address("acme", "email", "ann@example.com")


class Log:
    """A history in which so many commands have their line at each look."""

    def __init__(self, *found):
        self._found = iter(found)
        self.looks = 0

    def outcomes(self, _client, _database, asked):
        self.looks += 1
        some = list(asked)[: next(self._found, 0)]
        return {name: {"change": "reset", "reason": "", "cause_event_id": name} for _, name in some}


@pytest.fixture
def look(monkeypatch):
    """Wait for commands with a history of so many lines at each look, and a clock of seconds."""
    clock = count()
    monkeypatch.setattr(suppression_commands.time, "sleep", lambda _: None)
    monkeypatch.setattr(suppression_commands.time, "monotonic", lambda: next(clock))

    def wait(asked, *found, patience=10):
        log, told = Log(*found), []
        monkeypatch.setattr(suppression_commands.suppressions, "outcomes", log.outcomes)
        answers = suppression_commands.wait(
            None, "sendlog", asked, patience=patience, told=told.append
        )
        return answers, told

    return wait


def some(number=3):
    return [command("reset", ANN, actor="kim", reason="why") for _ in range(number)]


def test_answers_come_in_the_order_of_the_commands_and_progress_is_told(look) -> None:
    asked = some()
    answers, told = look(asked, 0, 1, 0, 2)
    assert [each.command.id for each in answers] == [each.id for each in asked]
    assert [each.line["cause_event_id"] for each in answers] == [each.id for each in asked]
    assert told == [0, 1, 1, 3]


def test_patience_counts_from_the_last_one_that_had_its_effect(look) -> None:
    answers, _ = look(some(), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, patience=5)
    assert len(answers) == 3


def test_when_patience_ends_it_says_how_many_are_left_and_where_they_are(look) -> None:
    with pytest.raises(UnansweredError, match=r"^2 of 3 commands .* delivery.commands, .* worker"):
        look(some(), 1)
    with pytest.raises(UnansweredError, match=r"^the command had no effect within 10 s"):
        look(some(1))


def test_a_refusal_is_told_from_an_obeyed_command() -> None:
    [given] = some(1)
    assert Answer(command=given, line={"change": "reset", "reason": "why"}).refusal == ""
    assert Answer(command=given, line={"change": "refused", "reason": "no"}).refusal == "no"


def test_a_command_has_an_id_of_its_own_and_the_address_as_the_log_has_it() -> None:
    first, second = (command("add", ANN._replace(address=" Ann@Example.com"), actor="kim",
                             reason=" moved ") for _ in range(2))  # fmt: skip
    assert first.id != second.id
    assert whose(first) == ANN
    assert first.reason == "moved"


@pytest.mark.parametrize("missing", ["actor", "reason"])
def test_a_command_without_an_actor_or_a_reason_is_none(missing) -> None:
    with pytest.raises(ValidationError, match=missing):
        command("reset", ANN, **{"actor": "kim", "reason": "why", missing: " "})
