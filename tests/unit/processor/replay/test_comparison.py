"""Raw records become the chunks that intake had, and their events are held against the stored."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pyarrow as pa
import pytest

from processor.intake.decoder import Decoder
from processor.intake.raw_records import to_rows
from processor.kafka.records import Chunk
from processor.replay.comparison import by_offset, decode_records, pairs_of
from processor.replay.differences import Difference, DifferenceStore
from processor.replay.event_rows import (
    COLUMNS,
    as_event,
    content_of,
    differing_columns,
    rows_of,
)
from processor.replay.records import RawRecord, chunks_of, records_of
from processor.replay.row_changes import changed_columns, row_of
from processor.settings import IntakeSettings
from projections.queries.message_events import MessageKey
from projections.tables import log_of
from tests.chunks import ses_bounce

DECODER = Decoder(IntakeSettings(), max_record_bytes=100_000, policy_partitions=0)
AT = 1_793_500_000_000
KEY = MessageKey("a@example.com", "m")


def send(**changes):
    event = {
        "channel": "email", "kind": "sent", "tenant_id": "t", "message_id": "m",
        "recipient": "a@example.com", "occurred_at": "2026-11-01T10:00:00Z", "tags": ["x", "y"],
    }  # fmt: skip
    return json.dumps({**event, **changes}).encode()


def record(value, offset=0, timestamp=AT, headers=(), topic="email.sends"):
    return RawRecord(topic, 0, offset, timestamp, headers, value)


def stored_of(*records):
    """Return the events of records as the store has them, by offset."""
    tables = [DECODER(Chunk(each.topic, 0, [each])).events for each in records]
    return by_offset(pa.concat_tables(tables))


def event_row(**changes):
    [row] = rows_of(DECODER(Chunk("email.sends", 0, [record(send(**changes))])).events)
    return row


def test_rows_are_records_again_and_copies_beside_each_other_are_one():
    headers = (("B", b"\xff"), ("a", None))
    first, second = record(send(), headers=headers), record(send(kind="open"), offset=1)
    decoded = DECODER(Chunk("email.sends", 0, [first, first, second]))
    assert records_of(to_rows([decoded])) == [first, second]


def test_no_offset_is_twice_in_a_chunk():
    records = [record(b"a", 1, 10), record(b"b", 1, 20), record(b"c", 2, 15)]
    chunks = [[each.value for each in chunk] for *_, chunk in chunks_of(records)]
    assert chunks == [[b"a", b"c"], [b"b"]]


def test_an_offset_of_a_topic_that_was_made_anew_has_the_events_of_its_own_time():
    old, new = record(send(), 7, AT), record(send(message_id="n"), 7, AT + 1)
    for each in decode_records(DECODER, [old, new], stored_of(old, new)):
        assert list(map(content_of, each.stored)) == list(map(content_of, each.decoded))
        assert len(each.stored) == 1


@pytest.mark.parametrize("timestamp", [None, -1, 0, AT * 1000])
def test_a_record_without_a_time_has_the_one_that_intake_took_it_for(timestamp):
    payload = json.loads(ses_bounce(1, "s"))
    del payload["bounce"]["timestamp"]
    raw = record(json.dumps(payload).encode(), topic="email.events.ses", timestamp=timestamp)
    stored = stored_of(raw._replace(timestamp=AT))
    [each] = decode_records(DECODER, [raw], stored)
    assert list(each.decoded) == list(each.stored)
    assert as_event(each.decoded[0])["recorded_at"].timestamp() == AT / 1000


def test_what_is_rejected_now_says_why():
    raw = record(b"rubbish", 3)
    [each] = decode_records(DECODER, [raw], stored_of(record(send(), 3)))
    assert len(each.stored) == 1
    assert not each.decoded
    assert "Invalid JSON" in each.reason


def test_events_pair_by_identity_then_by_what_they_are_about():
    same, click, bounce = event_row(), event_row(kind="click"), event_row(kind="bounce")
    later = event_row(kind="click", occurred_at="2026-11-01T11:00:00Z")
    corrected = event_row(subject="corrected")
    elsewhere = event_row(kind="open", recipient="b@example.com")
    pairs = list(pairs_of([same, click, bounce], [later, corrected, elsewhere]))
    assert pairs[:2] == [(same, corrected), (click, later)]
    assert pairs[2:] == [(bounce, elsewhere)]  # both are all that is left
    assert list(pairs_of([same], [])) == [(same, None)]
    assert list(pairs_of([], [same, click])) == [(None, same), (None, click)]
    assert differing_columns(same, corrected) == ("subject",)


def test_provenance_is_no_part_of_what_an_event_says():
    assert COLUMNS[-1] == "recorded_at"
    earlier, later = event_row(), event_row()
    assert content_of(earlier) == content_of((*later[:-1], later[-1] + 1))


def test_a_row_changes_in_columns_and_one_that_goes_in_all():
    log = log_of("email")
    before = row_of(log, "t", KEY, [event_row()])
    after = row_of(log, "t", KEY, [event_row(), event_row(kind="complaint")])
    assert before["tags"] == ["x", "y"]
    assert {"status", "complained_at"} <= set(changed_columns(before, after))
    assert "recipient" not in changed_columns(before, after)
    assert changed_columns(before, before) == ()
    assert row_of(log, "t", KEY, []) is None
    assert set(changed_columns(before, None)) == set(log.columns) - {
        "tenant_id", "recipient", "message_id",
    }  # fmt: skip


def difference(before, after, offset=0, source="ses"):
    return Difference(source, "email.events.ses", 0, offset, before, after)


def test_differences_are_counted_once_whatever_copies_there_are():
    old, new, other = event_row(), event_row(subject="s"), event_row(kind="click")
    with DifferenceStore() as store:
        store.add([difference(old, new), difference(old, new, 1), difference(None, new, 2)])
        store.add([difference(other, None), difference(None, event_row(kind="open"))])
        store.finish()
        counts = {(each.change, each.columns): each.events for each in store.counts()}
        assert counts == {("other", ("subject",)): 1, ("gone", ()): 1, ("new", ()): 1}
        assert [each.offset for each in store.examples(3)] == [0, 0, 0]
        assert store.message_count() == 1
        [(channel, tenant, [message])] = store.messages(10)
    assert (channel, tenant, message.key) == ("email", "t", KEY)
    assert len(message.removed) == 2
    assert {as_event(row)["kind"] for row in message.added} == {"sent", "open"}


def test_messages_come_in_batches_of_one_tenant_and_channel():
    with DifferenceStore() as store:
        store.add([
            difference(event_row(tenant_id=tenant, message_id=f"m{number}"), None)
            for tenant in "ab" for number in range(3)
        ])  # fmt: skip
        # What names nobody, or no message, is in no row.
        nobody = SimpleNamespace(row=list(event_row(message_id="x")))
        nobody.row[COLUMNS.index("recipient")] = b""
        store.add([difference(tuple(nobody.row), None)])
        batches = [(tenant, len(messages)) for _, tenant, messages in store.messages(2)]
    assert batches == [("a", 2), ("a", 1), ("b", 2), ("b", 1)]
