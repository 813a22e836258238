"""The page on adding a provider: its example works as it stands there."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import schemas.providers
from processor.cli.providers import tells_table
from schemas.events import MessageEvent, milliseconds
from schemas.providers import _common, adapters, decode
from tests.paths import PAYLOADS

PAGE = Path(schemas.providers.__file__).with_name("README.md").read_text("utf-8")
RECORDED_AT = datetime(2025, 6, 1, 12, tzinfo=UTC)
ARRIVED_MS = milliseconds(RECORDED_AT)


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return text


CASE = json.loads(block("json"))


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    """Put the page's module into the package, and return the adapter."""
    (tmp_path / "pigeon.py").write_text(block("python"), "utf-8")
    monkeypatch.setattr(schemas.providers, "__path__", [*schemas.providers.__path__, str(tmp_path)])
    adapters.cache_clear()
    yield adapters()[CASE["provider"]]
    monkeypatch.undo()
    adapters.cache_clear()
    del sys.modules["schemas.providers.pigeon"], schemas.providers.pigeon


def read(adapter, payload):
    return decode(adapter, payload, CASE["headers"], ARRIVED_MS, "default")


def test_the_example_gives_the_events_that_the_page_expects(adapter) -> None:
    decoded = read(adapter, CASE["payload"].encode())
    assert not decoded.rejected
    got = [MessageEvent.model_validate(event) for event in decoded.events]
    assert len(got) == len(CASE["expected"])
    for event, expected in zip(got, CASE["expected"], strict=True):
        moment = expected["occurred_at"]
        assert event.occurred_at == (datetime.fromisoformat(moment) if moment else RECORDED_AT)
        named = {name: value for name, value in expected.items() if name != "occurred_at"}
        assert event.model_dump(mode="json", include=set(named)) == named


def test_the_example_is_laid_out_as_those_of_the_contract_tests() -> None:
    payloads = PAYLOADS
    existing = json.loads((payloads / "brevo" / "batch.json").read_text("utf-8"))
    assert list(CASE) == list(existing)


def test_a_broken_note_leaves_its_neighbours_alone_and_is_rejected_again_alone(adapter) -> None:
    notes = [*json.loads(CASE["payload"]), {"stage": "teleported"}, {"stage": ["landed"]}]
    decoded = read(adapter, json.dumps(notes[::-1]).encode())
    assert len(decoded.events) == 2
    assert [part.element for part in decoded.rejected] == [0, 1]
    for part in decoded.rejected:
        (again,) = read(adapter, part.raw).rejected
        assert again.reason == part.reason


def test_the_page_names_only_helpers_and_files_that_exist() -> None:
    root = Path(schemas.providers.__file__).parents[2]
    paths = re.findall(r"`((?:tests|schemas)/[\w/]+\.\w+)`", PAGE)
    assert [path for path in paths if "pigeon" not in path]
    for path in paths:
        assert "pigeon" in path or (root / path).is_file(), path
    for names in re.findall(r"((?:`\w+`(?:, | or )?)+) of `_common`", PAGE):
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(_common, name), name


def examples_of(provider: str) -> list[list[dict[str, object]]]:
    """Return the expected events of each example of a provider."""
    module = adapters()[provider].__name__.rpartition(".")[2]
    folder = PAYLOADS / (provider if (PAYLOADS / provider).is_dir() else module)
    return [json.loads(file.read_text("utf-8"))["expected"] for file in folder.glob("*.json")]


@pytest.mark.parametrize("provider", adapters())
def test_what_a_provider_tells_is_what_its_examples_show(provider) -> None:
    tells, examples = adapters()[provider].TELLS, examples_of(provider)
    events = [event for example in examples for event in example]
    assert events
    assert tells.deferrals == any(event["kind"] == "deferral" for event in events)
    opens = [event for event in events if event["kind"] == "open"]
    is_marked = any(event.get("machine") for event in opens)
    assert tells.opens == ("no" if not opens else "marked" if is_marked else "unmarked")
    assert tells.batches == any(len(example) > 1 for example in examples)
    own_ids = [event for event in events if event.get("tenant_id") not in {None, "default"}]
    assert bool(tells.ids) == bool(own_ids)
    if tells.recipient == "yes":
        assert all(event.get("recipient") for event in events)


def test_the_page_has_the_table_of_what_the_providers_tell() -> None:
    assert tells_table() in PAGE
