"""`make fuzz`: asks every parser of what others send with spoiled inputs."""

from __future__ import annotations

import argparse
import logging
import sys

import structlog

from tests.fuzz.catalogue import PARSERS
from tests.fuzz.runner import Failure, run, try_input


def main() -> None:
    arguments = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    arguments.add_argument("--count", type=int, default=200_000, help="inputs in all")
    arguments.add_argument(
        "--seconds", type=float, default=240, help="end after so many at the latest"
    )
    arguments.add_argument("--seed", type=int, default=1, help="other inputs for another")
    arguments.add_argument("--only", default="", help="of a kind, or kind:name")
    arguments.add_argument("--number", type=int, help="only this one input of a parser")
    asked = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    parsers = [
        parser for parser in PARSERS
        if asked.only in ("", parser.kind, f"{parser.kind}:{parser.name}")
    ]  # fmt: skip
    if not parsers:
        kinds = ", ".join(dict.fromkeys(parser.kind for parser in PARSERS))
        sys.exit(f"no parser is {asked.only!r}; the kinds are {kinds}")
    if asked.number is not None:
        outcomes = [try_input(parser, asked.seed, asked.number) for parser in parsers]
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        print(f"{len(outcomes)} inputs, {len(failures)} failures")
    else:
        outcome = run(parsers, count=asked.count, seconds=asked.seconds, seed=asked.seed)
        failures = outcome.failures
        for kind, count in outcome.inputs.items():
            print(f"{kind:12} {count:10,} inputs {outcome.accepted[kind]:10,} accepted")
        ended = "" if outcome.is_complete else f", the time was over before {asked.count:,}"
        print(
            f"seed {asked.seed}: {outcome.inputs.total():,} inputs{ended}; {len(failures)} failures"
        )
    for failure in failures:
        print(f"\n{failure}")
    sys.exit(bool(failures))


main()
