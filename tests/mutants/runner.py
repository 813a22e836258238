"""Tries mutants: each in a copy of the tree, by the tests that are about its area."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.mutants.areas import AREAS

ROOT = Path(__file__).parents[2]
QUICK_SECONDS, THOROUGH_SECONDS = 120, 600
#: A machine that is busy, or a mutant without end: which, nobody knows.
NO_END = "no end"
#: What tests import of others, imported once and not for each mutant.
PRELOADED = (
    "pytest", "hypothesis", "pydantic", "pyarrow", "faust", "aiokafka", "kafka", "structlog",
    "clickhouse_connect", "fastapi", "starlette.testclient", "cryptography.x509", "phonenumbers",
    "_pytest.assertion.rewrite", "xdist", "stamina", "typer", "jinja2", "uvicorn",
)  # fmt: skip


def area_of(path):
    """Return the area of a file: the first that has it."""
    return next(area for area in AREAS if any(Path(path).match(each) for each in area.sources))


def copy_tree(folder):
    """Copy what git knows of the tree, and what is changed of it."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def run_tests(folder, paths, log):
    """Run tests of a copy of the tree, in this process, to the first failure."""
    os.setsid()
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if path not in {"", str(ROOT)})]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    import pytest  # noqa: PLC0415 - preloaded

    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:warnings"]
    code = pytest.main([*options, "-m", "not slow", "--tb=line", *paths])
    sys.stdout.flush()
    os._exit(int(code))


def failure_of(folder, paths, seconds):
    """Return the test that fails in a copy of the tree, "" if none does."""
    log = folder / "output.txt"
    process = multiprocessing.get_context("fork").Process(
        target=run_tests, args=(folder, paths, log)
    )
    process.start()
    process.join(seconds)
    code = process.exitcode
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and the servers that it started
    process.join()
    if code == 0:
        return ""
    if code is None:
        return f"{NO_END} after {seconds} s"
    lines = log.read_text("utf-8", "replace").splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return failed[0].partition(" - ")[0] if failed else f"exit {code}: {' '.join(lines[-1:])}"


def verdict_on(folder, mutation, area, *, quick):
    """Return which test notices a mutant, "" if none does."""
    path = folder / mutation.path
    source = (ROOT / mutation.path).read_bytes()
    path.write_bytes(mutation.applied(source))
    shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
    try:
        for tests, seconds in (
            (area.quick, QUICK_SECONDS),
            *(() if quick else ((area.thorough, THOROUGH_SECONDS),)),
        ):
            if tests and (failed := failure_of(folder, tests, seconds)):
                return failed
        return ""
    finally:
        path.write_bytes(source)
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)


def work(folder, tasks, results, quick):
    """Try mutants one after the other, in a copy of the tree."""
    for name in PRELOADED:
        __import__(name)
    copy_tree(folder)
    while (mutation := tasks.get()) is not None:
        started = time.monotonic()
        verdict = verdict_on(folder, mutation, area_of(mutation.path), quick=quick)
        results.put((mutation, verdict, time.monotonic() - started))
