"""The wheel is the same bytes wherever it is built; SBOM and audit say what they know."""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys

import pytest

from tests.paths import ROOT

SOURCES = (
    "schemas",
    "projections",
    "processor",
    "deploy",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
AUDIT = runpy.run_path(str(ROOT / "deploy" / "supply" / "audit.py"))
SBOM = runpy.run_path(str(ROOT / "deploy" / "supply" / "sbom.py"))


def wheel_digest(folder, at):
    """Return the digest of a wheel that is built of a copy whose files have another time."""
    ignored = shutil.ignore_patterns("__pycache__")
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    for path in folder.rglob("*"):
        os.utime(path, (at, at))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=folder, check=True,
        capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )  # fmt: skip
    [wheel] = (folder / "dist").glob("*.whl")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_a_wheel_is_the_same_from_another_folder_at_another_time(tmp_path):
    first = wheel_digest(tmp_path / "a", 1_600_000_000)
    assert first == wheel_digest(tmp_path / "another", 1_750_000_000)


def test_the_sbom_has_every_jar_by_coordinates_and_checksum():
    jars = SBOM["components_of_jars"]()
    assert len(jars) == 45
    [kafka] = [jar for jar in jars if jar["name"] == "kafka_2.13"]
    assert kafka["purl"] == "pkg:maven/org.apache.kafka/kafka_2.13@4.4.0"
    assert kafka["hashes"][0]["alg"] == "SHA-256"
    json.dumps(jars)


def program(tmp_path, error, code):
    path = tmp_path / "tool"
    path.write_text(f"import sys\nsys.stderr.write({error!r})\nsys.exit({code})\n")
    return [sys.executable, str(path)]


@pytest.mark.parametrize(
    ("error", "code", "problem"),
    [
        ("", 0, ""),
        ("Found 1 known vulnerability in 1 package", 1, "a.lock: Found 1 known vulnerability"),
        (
            "Traceback\nConnectionError: no such host\n", 1,
            "a.lock: NOT AUDITED, the service could not be asked: ConnectionError: no such host",
        ),
        ("", 3, "a.lock: NOT AUDITED, the service could not be asked: exit code 3"),
    ],
)  # fmt: skip
def test_an_audit_that_could_not_be_made_is_a_failure_of_one_line(tmp_path, error, code, problem):
    said = AUDIT["audit"](program(tmp_path, error, code), "a.lock")
    assert said.startswith(problem)
    assert bool(said) == bool(code)
    assert "NOT AUDITED" not in said or "\n" not in said
