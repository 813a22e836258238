"""The browser for these tests; as a program it installs one if there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

#: Where Playwright keeps a browser that it has downloaded: beside the packages.
CACHE = Path(sys.prefix) / "browsers"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PACKAGES = ("chromium", "fonts-dejavu-core")


def find():
    """Return the path of a Chromium of the system, else of one in the cache, or None."""
    system = next(filter(None, map(shutil.which, _NAMES)), None)
    cached = sorted(CACHE.glob("chromium-*/chrome-linux*/chrome"))
    return system or (str(cached[-1]) if cached else None)


def _install():
    """Install the distribution's, as root; else, or if that fails, Playwright's."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {
            "DEBIAN_FRONTEND": "noninteractive"}}  # fmt: skip
        subprocess.run(["apt-get", "update"], check=False, **quiet)
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *_PACKAGES]
        subprocess.run(install, check=False, **quiet)
    if find() is None:
        subprocess.run(
            [sys.executable, "-m", "playwright", "install", "chromium"], check=False,
            env=os.environ | {"PLAYWRIGHT_BROWSERS_PATH": str(CACHE)},
        )  # fmt: skip


def main():
    if find() is None:
        print("installing Chromium, for the tests of the pages (once)", flush=True)
        _install()
    if find() is None:
        sys.exit("the tests of the pages need Chromium, and it could not be installed: install it")


if __name__ == "__main__":
    main()
