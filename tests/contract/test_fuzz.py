"""A short search with spoiled inputs, from a fixed seed, and that a failure names its input."""

from __future__ import annotations

import pytest

from tests.fuzz.catalogue import PARSERS
from tests.fuzz.mutations import CHANGES, Example
from tests.fuzz.parsers import Parser, refusal
from tests.fuzz.runner import input_of, run

#: Few for each parser: `make fuzz` asks on.
PARSER_INPUTS = 12
KINDS = list(dict.fromkeys(parser.kind for parser in PARSERS))


@pytest.mark.parametrize("kind", KINDS)
def test_a_parser_takes_an_input_or_refuses_it_as_it_says(kind):
    parsers = [parser._replace(changes=CHANGES) for parser in PARSERS if parser.kind == kind]
    count = PARSER_INPUTS * len(parsers)
    outcome = run(parsers, count=count, seconds=300, seed=20_261_130)
    assert not outcome.failures, "\n".join(map(str, outcome.failures))
    assert outcome.inputs[kind] == count
    assert outcome.accepted[kind] > 0


def fragile(example):
    if b"a" not in example.payload:
        raise LookupError("no a")
    return True


def made(check):
    return Parser("texts", "made", [Example(b'{"a": 1}', {})], check)


def test_an_error_that_is_no_refusal_is_shown_with_its_seed_and_its_input():
    parser = made(fragile)
    outcome = run([parser], count=200, seconds=60, seed=7)
    [failure] = outcome.failures
    assert b"a" not in failure.example.payload
    assert input_of(parser, 7, failure.number) == failure.example
    assert f"--seed 7 --only 'texts:made' --number {failure.number}" in str(failure)
    assert "LookupError" in str(failure)
    assert failure.example.payload[:2_000].hex() in str(failure)


def test_an_error_that_is_a_refusal_is_none():
    outcome = run([made(refusal(fragile, LookupError))], count=200, seconds=60, seed=7)
    assert not outcome.failures
    assert 0 < outcome.accepted["texts"] < 200


def test_what_takes_too_much_time_for_its_size_is_a_failure(monkeypatch):
    # The processor's time of this parser goes on by two seconds whenever it is looked at.
    seconds = iter(range(0, 1_000, 2))
    monkeypatch.setattr("tests.fuzz.runner.time.thread_time", lambda: next(seconds))
    [failure] = run([made(lambda _: True)], count=3, seconds=60, seed=1).failures
    assert failure.problem.startswith("took 2.0 s of processor time, and has 1.")


def test_a_search_ends_when_its_time_is_over():
    outcome = run([made(lambda _: True)], count=100, seconds=-1, seed=1)
    assert outcome.inputs.total() == 0
    assert not outcome.is_complete
