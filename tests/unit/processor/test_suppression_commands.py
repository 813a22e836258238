"""Commands are waited for until each has taken effect, or the timeout is over."""

from __future__ import annotations

from itertools import count

import pytest
from pydantic import ValidationError

from processor import suppression_commands
from processor.suppression_commands import CommandOutcome, CommandTimeoutError, new_command
from schemas.addresses import Address

ANN = Address("acme", "email", "ann@example.com")


class History:
    """A history to which each poll adds rows for so many commands."""

    def __init__(self, *counts):
        self._counts = iter(counts)

    def outcomes(self, _client, _database, commands):
        done = list(commands)[: next(self._counts, 0)]
        return {name: {"change": "reset", "reason": "", "cause_event_id": name} for _, name in done}


@pytest.fixture
def wait_for(monkeypatch):
    """Wait for commands with a history of so many rows at each poll, and a clock of seconds."""
    clock = count()
    monkeypatch.setattr(suppression_commands.time, "sleep", lambda _: None)
    monkeypatch.setattr(suppression_commands.time, "monotonic", lambda: next(clock))

    def wait(commands, *counts, timeout_seconds=10):
        history, progress = History(*counts), []
        monkeypatch.setattr(suppression_commands.suppressions, "command_outcomes", history.outcomes)
        outcomes = suppression_commands.wait_for_outcomes(
            None, "sendlog", commands, timeout_seconds=timeout_seconds, on_progress=progress.append
        )
        return outcomes, progress

    return wait


def resets(number=3):
    return [new_command("reset", ANN, actor="kim", reason="why") for _ in range(number)]


def test_outcomes_come_in_the_order_of_the_commands_and_progress_is_reported(wait_for) -> None:
    commands = resets()
    outcomes, progress = wait_for(commands, 0, 1, 0, 2)
    assert [each.command.id for each in outcomes] == [each.id for each in commands]
    rows = [each.history_row for each in outcomes]
    assert [row["cause_event_id"] for row in rows] == [each.id for each in commands]
    assert progress == [0, 1, 1, 3]


def test_the_timeout_counts_from_the_last_one_that_took_effect(wait_for) -> None:
    outcomes, _ = wait_for(resets(), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, timeout_seconds=5)
    assert len(outcomes) == 3


def test_after_the_timeout_it_says_how_many_are_left_and_where_they_are(wait_for) -> None:
    with pytest.raises(
        CommandTimeoutError, match=r"^2 of 3 commands .* delivery.commands, .* worker"
    ):
        wait_for(resets(), 1)
    with pytest.raises(CommandTimeoutError, match=r"^the command had no effect within 10 s"):
        wait_for(resets(1))


def test_only_a_refused_command_has_a_rejection() -> None:
    [command] = resets(1)
    applied = {"change": "reset", "reason": "why"}
    assert CommandOutcome(command=command, history_row=applied).rejection == ""
    refused = {"change": "refused", "reason": "no"}
    assert CommandOutcome(command=command, history_row=refused).rejection == "no"


def test_a_command_has_an_id_of_its_own_and_the_address_as_the_log_has_it() -> None:
    first, second = (new_command("add", ANN._replace(address=" Ann@Example.com"), actor="kim",
                             reason=" moved ") for _ in range(2))  # fmt: skip
    assert first.id != second.id
    assert first.target == ANN
    assert first.reason == "moved"


@pytest.mark.parametrize("missing", ["actor", "reason"])
def test_a_command_without_an_actor_or_a_reason_is_none(missing) -> None:
    with pytest.raises(ValidationError, match=missing):
        new_command("reset", ANN, **{"actor": "kim", "reason": "why", missing: " "})
