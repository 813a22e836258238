"""`make test-mutants`: changes the code in many small places, and lists what no test notices."""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import tomllib
from contextlib import suppress
from pathlib import Path
from queue import Empty

from tests.mutants.areas import AREAS
from tests.mutants.mutations import Mutation, mutations_of
from tests.mutants.runner import NO_END, ROOT, work

HERE = Path(__file__).parent
PROCESSES = 2


def equivalents():
    """Return the mutants that change nothing: path, line of code, change."""
    entries = tomllib.loads((HERE / "equivalent.toml").read_text("utf-8")).get("equivalent", [])
    return {(entry["path"], entry["code"], entry["change"]) for entry in entries}


def named_mutations():
    """Return the mutants that are kept by name: changes that no test noticed once."""
    mutants = []
    for entry in tomllib.loads((HERE / "named.toml").read_text("utf-8"))["mutant"]:
        source = (ROOT / entry["path"]).read_bytes()
        old = entry["old"].encode()
        if source.count(old) != 1:
            sys.exit(f"{entry['name']}: {entry['path']} has its text {source.count(old)} times")
        start = source.index(old)
        line = source[:start].count(b"\n") + 1
        mutants.append(Mutation(
            entry["path"], start, start + len(old), entry["new"], line, "", entry["name"],
        ))  # fmt: skip
    return mutants


def drawn_mutations(count, seed, only):
    """Return `count` mutants, of each area as many, the same ones for a seed."""
    dice, known, by_area = random.Random(seed), equivalents(), []
    for area in (each for each in AREAS if not each.only_named):
        paths = sorted({path for pattern in area.sources for path in ROOT.glob(pattern)})
        names = [str(path.relative_to(ROOT)) for path in paths]
        found = [
            mutation
            for name in names if not only or name.startswith(only)
            for mutation in mutations_of(name, (ROOT / name).read_bytes())
            if (mutation.path, mutation.code, mutation.change) not in known
        ]  # fmt: skip
        by_area.append(iter(dice.sample(found, len(found))))
    drawn = []
    while by_area and len(drawn) < count:
        for mutants in list(by_area):
            mutation = next(mutants, None)
            if mutation is None:
                by_area.remove(mutants)
            elif len(drawn) < count:
                drawn.append(mutation)
    return drawn


def main():
    """Try mutants, tell of each, and fail if one was not noticed."""
    parser = argparse.ArgumentParser(prog="make test-mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="how many mutants are drawn")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--only", default="", help="only of paths that start so")
    parser.add_argument("--named", action="store_true", help="only those of named.toml")
    parser.add_argument("--quick", action="store_true", help="without property and integration")
    options = parser.parse_args()
    mutants = [each for each in named_mutations() if each.path.startswith(options.only)]
    if not options.named:
        mutants += drawn_mutations(options.count, options.seed, options.only)
    context = multiprocessing.get_context("spawn")
    tasks, results = context.Queue(), context.Queue()
    for mutation in [*mutants, *[None] * PROCESSES]:
        tasks.put(mutation)
    verdicts = {}
    with tempfile.TemporaryDirectory() as temporary:
        workers = []
        for number in range(PROCESSES):
            folder = Path(temporary) / f"tree-{number}"
            folder.mkdir()
            workers.append(context.Process(
                target=work, args=(folder, tasks, results, options.quick)
            ))  # fmt: skip
            workers[-1].start()
        for number in range(1, len(mutants) + 1):
            mutation, verdict, seconds = next_result(results, workers)
            verdicts[mutation] = verdict
            place = f"{mutation.path}:{mutation.line} {mutation.change}"
            said = verdict or "NOT NOTICED"
            print(f"{number}/{len(mutants)} {place}: {said} ({seconds:.0f} s)", flush=True)
        for worker in workers:
            worker.join()
    undecided = [each for each, verdict in verdicts.items() if verdict.startswith(NO_END)]
    unnoticed = [each for each, verdict in verdicts.items() if not verdict]
    noticed = len(mutants) - len(unnoticed) - len(undecided)
    print(f"{noticed} of {len(mutants)} mutants were noticed")
    for title, group in (("not noticed", unnoticed), ("no end in time", undecided)):
        print(f"{len(group)} {title}")
        for each in sorted(group):
            print(f"  {each.path}:{each.line} {each.change}\n      {each.code}")
    sys.exit(bool(unnoticed or undecided))


def next_result(results, workers):
    """Return what a worker found next; ends the program if all of them have died."""
    while True:
        with suppress(Empty):
            return results.get(timeout=5)
        if not any(worker.is_alive() for worker in workers):
            sys.exit("the processes that try mutants have died")


if __name__ == "__main__":
    main()
