"""`make audit`: looks up known vulnerabilities of what the locks name; fails also if it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "deploy/requirements.lock")
_FOUND = "known vulnerabilit"


def audit(tool: list[str], lock: str) -> str:
    """Return what is wrong with a lock, or ''. `tool` is the command of pip-audit."""
    options = ["--strict", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
    done = subprocess.run(  # noqa: S603 - the tool of the lock
        [*tool, *options, "-r", str(_ROOT / lock)], check=False, capture_output=True, text=True
    )
    if not done.returncode:
        return ""
    if _FOUND in done.stderr:
        return f"{lock}: {done.stderr.strip()}\n{done.stdout.strip()}"
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return f"{lock}: NOT AUDITED, the service could not be asked: {lines[-1][:200]}"


def main(*tool: str) -> int:
    """Audit all locks; return the exit code."""
    problems = [problem for lock in LOCKS if (problem := audit(list(tool), lock))]
    sys.stdout.write("\n".join(problems or ["no known vulnerabilities"]) + "\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
