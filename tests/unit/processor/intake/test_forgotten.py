"""What is said of people who were forgotten is kept under their pseudonyms, and not as it came."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from processor.intake import raw_records
from processor.intake.decoder import Decoder
from processor.intake.forgotten import ForgottenPeople
from processor.intake.policy_feed import lines_of
from processor.kafka.records import Chunk
from processor.replay.records import RawRecord
from processor.settings import IntakeSettings
from schemas.addresses import Address
from schemas.events import milliseconds
from schemas.pseudonyms import Pseudonyms

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
SECRET = "a secret of tests, long enough for it"
ANN = Address("acme", "email", "ann.lee@example.com")
PSEUDONYM = Pseudonyms(SECRET).of(ANN)


@pytest.fixture
def decode():
    forgotten = ForgottenPeople(SECRET)
    forgotten.replace([PSEUDONYM])
    return Decoder(IntakeSettings(), max_record_bytes=1_000_000, forgotten=forgotten)


def chunk(*values, topic="email.sends"):
    records = [
        RawRecord(topic, 0, offset, milliseconds(NOW), (), json.dumps(value).encode())
        for offset, value in enumerate(values)
    ]
    return Chunk(topic, 0, records)


def event(kind="sent", recipient=ANN.address, tenant="acme", **fields):
    return {
        "channel": "email", "kind": kind, "tenant_id": tenant, "message_id": "m1",
        "recipient": recipient, "occurred_at": NOW.isoformat(), "subject": "Dear Ann Lee", **fields,
    }  # fmt: skip


@pytest.mark.parametrize("count", [1, 100])
def test_an_event_of_a_forgotten_address_is_hidden_in_any_writing(decode, count):
    decoded = decode(
        chunk(*[event(recipient=" Ann.LEE@Example.com")] * count, event(recipient="b@x.y"))
    )
    rows = decoded.events.to_pylist()
    assert {(row["recipient"], row["subject"]) for row in rows} == {
        (PSEUDONYM.encode(), b""), (b"b@x.y", b"Dear Ann Lee"),
    }  # fmt: skip
    assert len({row["event_id"] for row in rows if row["recipient"] != b"b@x.y"}) == 1
    assert "ann.lee" not in str(rows).lower()


def test_a_record_about_a_forgotten_address_is_not_kept_as_it_came(decode):
    decoded = decode(chunk(event(), event(recipient="b@x.y"), event()))
    assert raw_records.to_rows([decoded])["offset"].to_pylist() == [1]


def test_another_tenants_same_address_is_not_hidden(decode):
    [row] = decode(chunk(event(tenant="other"))).events.to_pylist()
    assert (row["recipient"], row["subject"]) == (ANN.address.encode(), b"Dear Ann Lee")


def test_the_policy_hears_of_the_pseudonym_alone(decode):
    hard = {"bounce_class": "hard", "diagnostic": f"no mailbox {ANN.address}"}
    [record] = decode(chunk(event("bounce", **hard))).policy_records
    [line] = lines_of(record.value)
    assert json.loads(line)["fact"]["recipient"] == PSEUDONYM
    assert b"ann.lee" not in record.value


def test_a_command_about_a_forgotten_address_is_about_its_pseudonym(decode):
    command = {
        "id": "c1", "command": "reset", "tenant_id": "acme", "channel": "email",
        "address": "Ann.Lee@example.com", "actor": "kim", "reason": "she is back",
    }  # fmt: skip
    [record] = decode(chunk(command, topic="delivery.commands")).policy_records
    assert json.loads(record.value)["command"]["address"] == PSEUDONYM


def test_a_decision_on_a_pseudonym_is_as_it_was_published(decode):
    decision = event(
        "suppressed", PSEUDONYM, label="sendlog", change="added", rule="by_hand", tags=["added"],
        since=NOW.isoformat(), diagnostic="listed by hand", actor="kim",
    )  # fmt: skip
    decoded = decode(chunk(decision, topic="delivery.decisions"))
    [row] = decoded.events.to_pylist()
    assert row["diagnostic"] == b"listed by hand"
    [line] = decoded.history
    assert (line["address"], line["reason"]) == (PSEUDONYM, "listed by hand")


def test_a_decision_on_the_address_that_comes_late_is_hidden_in_the_history(decode):
    decision = event(
        "suppressed", label="sendlog", change="added", rule="hard_bounce", tags=["added"],
        since=NOW.isoformat(), diagnostic=f"no mailbox {ANN.address}",
    )  # fmt: skip
    [line] = decode(chunk(decision, topic="delivery.decisions")).history
    assert (line["address"], line["reason"], line["rule"]) == (PSEUDONYM, "", "hard_bounce")


def test_nothing_is_known_until_the_database_has_said_it():
    async def known():
        return ForgottenPeople(SECRET).is_known.is_set()

    assert not asyncio.run(known())
