"""`make test-faults`: a long fault run. ARGS="--help" lists what it takes."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults.driver import Plan, run
from tests.faults.faults import FAULTS

DEFAULT_MINUTES = 15.0


def main():
    parser = argparse.ArgumentParser(prog="make test-faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of load and faults")
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, help="at most")
    parser.add_argument("--faults", type=int, default=Plan.faults, help="at most")
    parser.add_argument("--facts", type=int, default=Plan.facts, help="about so many, at most")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="records a second")
    parser.add_argument("--workers", type=int, default=Plan.workers)
    parser.add_argument("--gap", type=float, default=Plan.gap_seconds, help="seconds, on average")
    parser.add_argument("--only", action="append", choices=FAULTS, help="this kind; repeatable")
    parser.add_argument("--folder", type=Path, help="where to keep data and logs; else removed")
    chosen = parser.parse_args()
    # Ended from outside it stops its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    plan = Plan(
        seed=chosen.seed, seconds=chosen.minutes * 60, faults=chosen.faults, facts=chosen.facts,
        rate=chosen.rate, workers=chosen.workers, gap_seconds=chosen.gap,
        kinds=tuple(chosen.only or FAULTS),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="sendlog-faults-") as temporary:
        folder = chosen.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = run(plan, folder, lambda line: print(line, flush=True))
    print(report)
    sys.exit(not report.is_good)


if __name__ == "__main__":
    main()
