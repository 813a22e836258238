"""Which decisions are rows of the history of suppressions, and what these say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from processor.intake.decoder import Decoder
from processor.intake.suppression_history import HISTORY_KINDS, to_table
from processor.settings import IntakeSettings
from tests.chunks import chunk_of

SINCE = datetime(2026, 11, 1, 10, tzinfo=UTC)
DECISION = {
    "channel": "email", "kind": "suppressed", "tenant_id": "acme", "recipient": "Jo@Example.com",
    "occurred_at": SINCE.isoformat(), "label": "sendlog", "change": "added", "rule": "hard_bounce",
    "since": SINCE.isoformat(), "diagnostic": "550 5.1.1", "cause_event_id": "e1", "message_id": "",
}  # fmt: skip


def history(*changes, topic="delivery.decisions"):
    records = [
        SimpleNamespace(
            topic=topic, partition=3, offset=offset, timestamp=1_793_550_000_000, headers=(),
            value=json.dumps({**DECISION, **change}).encode(),
        )
        for offset, change in enumerate(changes)
    ]  # fmt: skip
    decoded = Decoder(IntakeSettings(), max_record_bytes=10_000)(chunk_of(records))
    assert decoded.events.num_rows == len(records)
    return decoded


def test_a_decision_that_changes_a_suppression_is_a_row_with_its_provenance():
    decoded = history({"change": None}, {"until": "2026-12-01T10:00:00Z", "actor": "Kim"})
    [row] = decoded.history
    assert to_table([row]).num_rows == 1
    assert row["event_id"] == decoded.events["event_id"][1].as_py().decode()
    assert {**row, "event_id": ""} == {
        "tenant_id": "acme", "channel": "email", "address": "jo@example.com", "change": "added",
        "rule": "hard_bounce", "reason": "550 5.1.1", "actor": "Kim", "message_id": "",
        "occurred_at": SINCE, "since": SINCE, "until": datetime(2026, 12, 1, 10, tzinfo=UTC),
        "recorded_at": datetime.fromtimestamp(1_793_550_000, UTC), "cause_event_id": "e1",
        "rules_version": 0, "event_id": "", "source_topic": "delivery.decisions",
        "source_partition": 3, "source_offset": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        ({}, 1),
        ({"kind": "reinstated", "change": "expired", "rule": None}, 1),
        ({"kind": "note", "change": "refused"}, 1),
        ({"kind": "note", "change": None}, 0),
        ({"kind": "invalid", "message_id": "m1"}, 0),
        ({"label": "somebody"}, 0),
        ({"change": "forgotten"}, 0),
    ],
)
def test_only_changes_of_a_suppression_that_are_our_own_are_history(change, rows):
    assert len(history(change).history) == rows


def test_what_a_mailer_says_of_a_suppression_is_no_history():
    for kind in HISTORY_KINDS:
        decoded = history({"kind": kind, "message_id": "m1"}, topic="email.sends")
        assert not decoded.history
