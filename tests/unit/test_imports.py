"""Importing does nothing but define things: no connection, no thread, no file, no output."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import pkgutil, socket, sys, threading
import faust, kafka, pydantic, pyarrow, clickhouse_connect, typer, uvloop  # theirs, not ours

def refuse(*_, **__):
    raise AssertionError("a connection at import")

socket.socket.connect = socket.create_connection = refuse
threads = threading.active_count()
import schemas, projections, processor
for package in (schemas, projections, processor):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            __import__(module.name)
assert threading.active_count() == threads, threading.enumerate()
print(len([name for name in sys.modules if name.startswith(("schemas.", "projections."))]))
"""


def test_importing_every_module_opens_and_starts_nothing():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert int(done.stdout) > 30
