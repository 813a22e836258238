"""Prometheus' own tool, which tests alert rules; as a program it gets one if there is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.paths import ROOT

#: Beside the code: the distribution's package is unpacked, and starts no server.
CACHE = ROOT / ".cache" / "promtool" / "promtool"


def find():
    """Return the path of the system's promtool, else of the one in the cache, or None."""
    return shutil.which("promtool") or (str(CACHE) if CACHE.exists() else None)


def _get():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "update", "--quiet"], check=False, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "download", "--quiet", "prometheus"], check=True, cwd=folder,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        [package] = Path(folder).glob("prometheus_*.deb")
        subprocess.run(["dpkg", "--extract", str(package), folder], check=True)
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(folder, "usr/bin/promtool"), CACHE)


def main():
    if find() is None:
        print("getting promtool, for the tests of the alert rules (once)")
        _get()
    if find() is None:
        sys.exit("install promtool: it comes with Prometheus")


if __name__ == "__main__":
    main()
