"""DDL, folds, pages and example queries on every supported version of ClickHouse.

    python -m tests.engines [VERSION...]

Each version is a wheel of chDB, pinned by a lock here. From 26.7 on its own server is started, and
tests speak to it as to any other; older wheels cannot listen, so they run within the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT

LOCKS = Path(__file__).parent
FOLDER = ROOT / ".venv" / "engines"
#: The first version whose wheel can open ports.
LISTENING = (26, 7)


def install(version):
    """Return the folder with the wheel of a version, which is fetched the first time."""
    folder = FOLDER / version
    if not folder.is_dir():
        print(f"fetching the wheel of ClickHouse {version} (once)", flush=True)
        part = folder.with_suffix(".part")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade",
                   "--disable-pip-version-check", "--require-hashes", "--target", str(part),
                   "--requirement", str(LOCKS / f"{version}.lock")]  # fmt: skip
        subprocess.run(command, check=True)
        part.rename(folder)
    return folder


def run(version):
    """Run the tests on a version and return pytest's exit code."""
    environment = {**os.environ, "PYTHONPATH": str(install(version)), "PYTEST_ADDOPTS": ""}
    if tuple(map(int, version.split("."))) < LISTENING:
        environment["SENDLOG_TEST_ENGINE"] = "in-process"
    print(f"ClickHouse {version}", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "tests/engines"]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode


def main():
    versions = sys.argv[1:] or sorted(path.stem for path in LOCKS.glob("*.lock"))
    results = {version: run(version) for version in versions}
    for version, code in results.items():
        print(f"ClickHouse {version}: {'passed' if code == 0 else f'FAILED ({code})'}")
    sys.exit(max(results.values()))


if __name__ == "__main__":
    main()
