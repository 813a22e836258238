"""Asks parsers with spoiled inputs, and finds what they do that they must not."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from tests.fuzz.mutations import Example, spoiled_example
from tests.fuzz.parsers import Parser

#: An input may take so much of a processor; far more than it does, on any machine.
BASE_LIMIT_SECONDS = 1.0
BYTE_LIMIT_SECONDS = 20e-6
#: What was slow for another reason is fast the next time.
SLOW_ATTEMPTS = 3
MAX_SHOWN_BYTES = 2_000


class Failure(NamedTuple):
    """An input that a parser failed on, and how to have it again."""

    parser: Parser
    seed: int
    number: int
    example: Example
    problem: str
    place: str

    def __str__(self) -> str:
        payload = self.example.payload
        shown = payload[:MAX_SHOWN_BYTES].hex() + "…" * (len(payload) > MAX_SHOWN_BYTES)
        return (
            f"{self.parser.kind}, {self.parser.name}: {self.problem} at {self.place}\n"
            f"  again: make fuzz ARGS=\"--seed {self.seed} --only '{self.parser.kind}:"
            f"{self.parser.name}' --number {self.number}\"\n"
            f"  headers: {self.example.headers!a:.2000}\n"
            f"  input of {len(payload):,} bytes, in hex: {shown}"
        )


class Outcome(NamedTuple):
    """What a run came to: inputs and accepted inputs by kind of parser, and failures."""

    inputs: Counter[str]
    accepted: Counter[str]
    failures: list[Failure]
    is_complete: bool


def input_of(parser: Parser, seed: int, number: int) -> Example:
    """Return an input of a parser, which its number and the seed determine."""
    dice = Random(f"{seed} {parser.kind} {parser.name} {number}")
    example = parser.examples[number % len(parser.examples)]
    return spoiled_example(example, dice, parser.changes)


def limit_seconds(example: Example) -> float:
    return BASE_LIMIT_SECONDS + BYTE_LIMIT_SECONDS * len(example.payload)


def try_input(parser: Parser, seed: int, number: int) -> bool | Failure:
    """Ask a parser; return whether it accepted the input, or what is wrong."""
    example = input_of(parser, seed, number)
    for _ in range(SLOW_ATTEMPTS):
        start = time.thread_time()
        try:
            is_accepted = parser.check(example)
        except Exception as error:  # noqa: BLE001 - any is a fault
            frame = traceback.extract_tb(error.__traceback__)[-1]
            problem = f"{type(error).__name__}: {error!a:.300}"
            place = f"{frame.filename}:{frame.lineno}"
            return Failure(parser, seed, number, example, problem, place)
        took = time.thread_time() - start
        if took <= limit_seconds(example):
            return is_accepted
    problem = f"took {took:.1f} s of processor time, and has {limit_seconds(example):.1f} s"
    return Failure(parser, seed, number, example, problem, "any")


def run(parsers: Sequence[Parser], *, count: int, seconds: float, seed: int) -> Outcome:
    """Ask all parsers in turn, `count` times in all or until the time is over.

    Of failures of one parser at one place the first is returned.
    """
    inputs: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    failures: dict[tuple[str, str, str], Failure] = {}
    end = time.monotonic() + seconds
    for index in range(count):
        if time.monotonic() > end:
            break
        number, turn = divmod(index, len(parsers))
        parser = parsers[turn]
        outcome = try_input(parser, seed, number)
        inputs[parser.kind] += 1
        if isinstance(outcome, Failure):
            failures.setdefault((parser.kind, parser.name, outcome.place), outcome)
        else:
            accepted[parser.kind] += outcome
    return Outcome(inputs, accepted, list(failures.values()), inputs.total() == count)
