"""Raw records as rows: as Kafka has them, and only those that gave events."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from processor.intake.decoder import Decoder
from processor.intake.raw_records import to_rows
from processor.settings import IntakeSettings
from projections.tables.raw_records import TABLE
from tests.chunks import chunk_of, ses_bounce


def decoded(*values, headers=(), timestamp=1_793_500_000_000):
    records = [
        SimpleNamespace(topic="email.events.ses", partition=3, offset=n, timestamp=timestamp,
                        headers=headers, value=value)
        for n, value in enumerate(values, 7)
    ]  # fmt: skip
    decode = Decoder(IntakeSettings(), max_record_bytes=100_000, policy_partitions=0)
    return decode(chunk_of(records))


def test_a_record_is_kept_as_kafka_has_it():
    headers = (("B", b"\xff"), ("a", None), ("B", b""), ("B", b"\xff"))
    value = ses_bounce(3, "Invoice")
    [row] = to_rows([decoded(value, headers=headers)]).to_pylist()
    assert row == {
        "topic": b"email.events.ses", "partition": 3, "offset": 7, "timestamp": 1_793_500_000_000,
        "headers": [{"name": name.encode(), "value": raw} for name, raw in headers],
        "value": value,
    }  # fmt: skip


def test_a_record_that_gave_no_event_is_left_out():
    rows = to_rows([decoded(b"rubbish", ses_bounce(1, "a"), b"{}"), decoded(b"rubbish")])
    assert rows["offset"].to_pylist() == [8]


def test_headers_stay_with_their_record():
    several = decoded(ses_bounce(1, "a"), ses_bounce(1, "b"), headers=(("n", b"1"), ("m", b"2")))
    rows = to_rows([several, decoded(ses_bounce(1, "c"))])
    assert [len(each) for each in rows["headers"].to_pylist()] == [2, 2, 0]


def test_records_are_in_the_order_of_their_table():
    first = decoded(ses_bounce(1, "a"), ses_bounce(1, "b"))
    chunk = first.chunk
    later = replace(first, chunk=chunk._replace(partition=4))
    earlier = replace(first, chunk=chunk._replace(topic="email.events.mailgun"))
    rows = to_rows([later, first, earlier])
    places = list(zip(*(rows[name].to_pylist() for name in TABLE.order_by), strict=True))
    assert places == sorted(places)
    assert len(set(places)) == 6


def test_a_record_without_a_time_says_so():
    assert to_rows([decoded(ses_bounce(1, "a"), timestamp=None)])["timestamp"].to_pylist() == [-1]
