"""The page of contracts: it names the modules, files, kinds and required fields that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import schemas
from schemas.events import DECISION_KINDS, KINDS_BY_CHANNEL, MessageEvent

FOLDER = Path(schemas.__file__).parent
PAGE = (FOLDER / "README.md").read_text("utf-8")
TEXT = " ".join(PAGE.split())


def test_every_module_is_in_the_table() -> None:
    table = PAGE.partition("## Modules")[2].partition("## Decisions")[0]
    modules = {path.name for path in FOLDER.glob("*.py") if path.name != "__init__.py"}
    assert modules | {"bounces.toml", "reasons.toml"} == set(
        re.findall(r"`(\w+\.(?:py|toml))`", table)
    ) - {"signatures.py"}


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE)
    assert links
    for link in links:
        assert (FOLDER / link).is_file(), link


@pytest.mark.parametrize(("channel", "label"), [("email", "email"), ("sms", "SMS")])
def test_the_page_lists_the_kinds_of_a_mailers_events(channel, label) -> None:
    (kinds,) = re.findall(rf"`([a-z_ ]+)` for {label}", TEXT)
    # `skipped` has no effect for SMS.
    optional = {"skipped"} if channel == "sms" else set()
    assert set(kinds.split()) == KINDS_BY_CHANNEL[channel] - DECISION_KINDS - optional


def test_the_page_names_the_required_fields() -> None:
    (sentence,) = re.findall(r"Required are (.*?) \(ISO", TEXT)
    schema = json.loads((FOLDER / "exported" / "message_event.schema.json").read_text("utf-8"))
    assert set(re.findall(r"`(\w+)`", sentence)) == set(schema["required"])
    assert set(schema["required"]) <= set(MessageEvent.model_fields)
