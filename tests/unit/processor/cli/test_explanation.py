"""`sendlog explain` prints the cause of a failure in plain words, with what to do."""

from __future__ import annotations

from processor.cli.logs import _print_explanation

EXPLANATION = {
    "status": "Undelivered", "status_reason": "number wrong, unsuitable or out of reach: 30006",
    "rule": "the number is wrong, unsuitable or out of reach", "rule_place": 2,
    "edges": [], "overruled": [], "facts": [],
    "cause": {"name": "landline", "words": "It may be a landline"},
    "advice": "Ask them for a mobile number.",
}  # fmt: skip


def test_a_failure_is_printed_with_its_cause_and_advice(capsys):
    _print_explanation(EXPLANATION)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Undelivered — number wrong, unsuitable or out of reach: 30006"
    assert lines[1] == "It may be a landline. Ask them for a mobile number."


def test_what_did_not_fail_is_printed_without_advice(capsys):
    _print_explanation(EXPLANATION | {"cause": None})
    assert "Ask them" not in capsys.readouterr().out
