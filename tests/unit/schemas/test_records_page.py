"""The page of records: each is valid by its exported schema, keyed as it says, and is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest

import schemas
from processor.intake.decoder import Decoder
from processor.kafka.records import Chunk
from processor.settings import IntakeSettings
from schemas.addresses import Address
from schemas.decisions import Command, RetryRequested, Suppression

FOLDER = Path(schemas.__file__).parent
EXPORTED = FOLDER / "exported"
EXAMPLES = [
    json.loads(text)
    for text in re.findall(
        r"^```json\n(.*?)^```$",
        (FOLDER / "RECORDS.md").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
]
MODELS = {
    "delivery.commands": Command,
    "delivery.retries": RetryRequested,
    "delivery.suppressions": Suppression,
}
FEEDS = [each for each in EXAMPLES if ".events." in each["topic"]]
INPUTS = [each for each in EXAMPLES if each["topic"].endswith(".sends") or each in FEEDS]
ASYNCAPI = json.loads((EXPORTED / "asyncapi.json").read_text("utf-8"))
CHANNELS = {each["address"]: each for each in ASYNCAPI["channels"].values()}


def schema_of(topic):
    name = CHANNELS[topic]["messages"]["message"]["$ref"].rpartition("/")[2]
    payload = ASYNCAPI["components"]["messages"][name].get("payload")
    return json.loads((EXPORTED / payload["$ref"]).read_text("utf-8")) if payload else {}


def title(example):
    value = example["value"]
    kind = value.get("kind", "") if isinstance(value, dict) else "raw"
    return f"{example['topic']}-{kind}"


def test_the_page_has_what_mailers_feeds_and_readers_need():
    assert len(EXAMPLES) == 10
    assert {each["topic"] for each in EXAMPLES} == {
        "email.sends", "sms.sends", "email.events.postmark", "sms.events.twilio",
        "delivery.commands", "delivery.retries", "delivery.suppressions",
    }  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=title)
def test_a_value_is_valid_by_the_exported_schema_of_its_topic_and_has_no_other_field(example):
    schema = schema_of(example["topic"])
    jsonschema.Draft202012Validator(schema).validate(example["value"])
    if example["topic"] in MODELS:  # times, which a schema only describes
        MODELS[example["topic"]].model_validate(example["value"])
    if schema:
        assert set(example["value"]) <= set(schema["properties"])


@pytest.mark.parametrize(
    "example", [each for each in EXAMPLES if "|" in (each["key"] or "")], ids=title
)
def test_a_key_is_that_of_the_address(example):
    value = example["value"]
    address = value.get("recipient") or value["address"]
    assert Address(value["tenant_id"], value["channel"], address).key == example["key"]


@pytest.mark.parametrize("example", INPUTS, ids=title)
def test_sendlog_reads_an_event_of_the_tenant_from_it(example):
    value = example["value"]
    raw = value if isinstance(value, str) else json.dumps(value)
    headers = [(name, text.encode()) for name, text in example["headers"].items()]
    record = SimpleNamespace(
        offset=0, timestamp=1_793_612_000_000, value=raw.encode(), headers=headers
    )
    decoded = Decoder(IntakeSettings(), max_record_bytes=100_000)(
        Chunk(example["topic"], 0, [record])
    )
    assert not decoded.rejections
    [row] = decoded.events.to_pylist()
    assert row["tenant_id"] == b"acme"
    assert row["message_id"] in {b"invoice-7", b"invoice-8", b"reminder-3"}


def test_an_unknown_field_would_be_noticed():
    schema = schema_of("email.sends")
    assert "nonsense" not in schema["properties"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**EXAMPLES[0]["value"], "channel": "fax"}, schema)
