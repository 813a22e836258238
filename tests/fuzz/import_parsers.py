"""Exports that people import, as spoiled files: every line is read, left out or named."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from processor.imports.history import HistoryImport, ImportRecord
from processor.imports.reading import read_file
from schemas.providers import Decoded, adapters
from tests.fuzz.mutations import Example
from tests.fuzz.parsers import Parser
from tests.fuzz.soundness import sound
from tests.paths import DATA

EXPORTS = DATA / "exports"
LIMIT = 8_388_608


def read_export(provider: str, list_name: str, example: Example) -> bool:
    """Import a file; none of it is an error, and what is published is sound."""
    history = HistoryImport(adapter=adapters()[provider], tenant="acme")
    with tempfile.NamedTemporaryFile() as file:
        file.write(example.payload)
        file.flush()
        items = read_file(Path(file.name), provider, list_name=list_name, max_bytes=LIMIT)
        results = list(history.records(items))
    records = [result for result in results if isinstance(result, ImportRecord)]
    for record in records:
        sound(Decoded(list(record.events), []), history.adapter.CHANNEL)
        assert all(name.islower() for name, _ in record.headers)
    for result in results:
        if not isinstance(result, ImportRecord):
            assert result.why
            assert result.line > 0
    return bool(records)


def parsers_of_exports() -> Iterator[Parser]:
    examples: defaultdict[tuple[str, str], list[Example]] = defaultdict(list)
    for path in sorted(EXPORTS.rglob("*.expected.json")):
        expected = json.loads(path.read_text("utf-8"))
        payload = Path(str(path).removesuffix(".expected.json")).read_bytes()
        examples[expected["provider"], expected.get("list", "")].append(Example(payload, {}))
    for (provider, list_name), files in examples.items():
        name = f"{provider}-{list_name}" if list_name else provider
        yield Parser("imports", name, files, partial(read_export, provider, list_name))
