"""What is installed has a licence that we know and take."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution

import pytest

from tests.paths import ROOT

RULES = tomllib.loads((ROOT / "deploy" / "supply" / "licences.toml").read_text("utf-8"))
NAMES = sorted(
    {
        name
        for lock in ("requirements.lock", "deploy/requirements.lock")
        for name in re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text("utf-8"), re.MULTILINE)
    }
)
DEPLOYED = re.findall(
    r"^([\w.-]+)==", (ROOT / "deploy/requirements.lock").read_text("utf-8"), re.MULTILINE
)
_SEPARATORS = re.compile(r"\s+(?:AND|OR)\s+|;\s*")


def licences_of(name):
    """Return the licences of a distribution: its expression, else its classifiers or its word."""
    named = RULES["named"].get(name)
    metadata = distribution(name).metadata
    classifiers = [
        text.rpartition(" :: ")[2]
        for text in metadata.get_all("Classifier") or []
        if text.startswith("License ::") and text.count(" :: ") > 1
    ]
    text = named or metadata.get("License-Expression") or ";".join(classifiers)
    text = text or (metadata.get("License") or "").partition("\n")[0]
    return {part for part in map(str.strip, _SEPARATORS.split(text)) if part}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_lock_names_has_a_licence_that_is_taken(name):
    taken = set(RULES["taken"]) | (set() if name in DEPLOYED else set(RULES["taken_for_tests"]))
    licences = licences_of(name)
    assert licences, f"{name} names no licence; look it up, and write it to licences.toml"
    assert licences <= taken, f"{name}: {licences - taken}"
