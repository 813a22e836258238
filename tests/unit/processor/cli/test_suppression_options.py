"""What the commands of the blacklist print of an address, and of a command."""

from __future__ import annotations

from datetime import UTC, datetime

from processor.cli.suppression_options import print_outcome, print_suppression_state
from processor.suppression_commands import CommandOutcome, new_command
from schemas.addresses import Address

ANN = Address("acme", "email", "ann@example.com")
ENTRY = {
    "rule": "complaint", "rules": ["complaint", "hard_bounce", "soft_bounces"], "reason": "",
    "since": datetime(2026, 11, 2, 9, 30, tzinfo=UTC), "until": None, "message_id": "",
    "actor": "sendlog", "refused_since": 1, "effect": "invalid",
}  # fmt: skip
ROW = {
    "change": "reset", "rule": "hard_bounce", "occurred_at": ENTRY["since"], "actor": "kim",
    "reason": "she wrote to us",
}  # fmt: skip
RESET = new_command("reset", ANN, actor="kim", reason="she wrote to us")


def test_an_entry_is_explained_with_every_reason_there_is(capsys) -> None:
    print_suppression_state(ANN, ENTRY, [])
    assert capsys.readouterr().out.splitlines() == [
        "ann@example.com (email, tenant acme) is blacklisted",
        "  because   reported as spam",
        "  also      hard bounce; soft bounces",
        "  since     2026-11-02 09:30 UTC",
        "  message   none",
        "  by        sendlog",
        "  refused   1 message since",
        "  effect    a later send is Invalid",
        (
            "  reset     Messages are sent again. Another report as spam blacklists it again at "
            "once. The next hard bounce blacklists it again at once. Failed attempts are counted "
            "anew."
        ),
    ]


def test_an_address_without_an_entry_is_shown_with_what_was_done_last(capsys) -> None:
    print_suppression_state(ANN, None, [])
    print_suppression_state(ANN, None, [ROW])
    assert capsys.readouterr().out.splitlines() == [
        "ann@example.com (email, tenant acme) is not blacklisted",
        "  last      never was",
        "ann@example.com (email, tenant acme) is not blacklisted",
        "  last      reset (hard bounce) on 2026-11-02 09:30 UTC by kim: she wrote to us",
    ]


def test_a_command_that_took_effect_is_shown_with_the_entry_that_is_left(capsys) -> None:
    outcome = CommandOutcome(command=RESET, history_row=ROW)
    print_outcome(outcome, None)
    print_outcome(outcome, {"rules": ["unsubscribe", "opt_out", "echo", "by_hand"]})
    done = "done: reset (hard bounce) on 2026-11-02 09:30 UTC by kim: she wrote to us"
    assert capsys.readouterr().out.splitlines() == [
        done,
        "ann@example.com is not blacklisted now",
        done,
        (
            "ann@example.com is blacklisted: unsubscribed; opted out; "
            "on the provider's own list; listed by hand"
        ),
    ]


def test_a_rejected_command_is_shown_with_why(capsys) -> None:
    row = {**ROW, "change": "refused", "reason": "it is not blacklisted"}
    print_outcome(CommandOutcome(command=RESET, history_row=row), None)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "refused: it is not blacklisted\n")
