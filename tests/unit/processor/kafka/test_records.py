"""When a record first arrived: what a replay's header says, if that can be, else its own time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from processor.kafka import records
from processor.kafka.records import recorded_ms, text_headers

OWN, READ = 1_793_550_000_000, 1_800_000_000_000
FIRST, LAST = 631_152_000_000, 4_102_444_799_999  # 1990 to 2099


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), OWN),
        (None, OWN),
        ((("sendlog-recorded-at", b"1700000000000"),), 1_700_000_000_000),
        ((("x", b"1"), ("sendlog-recorded-at", b"%d" % LAST)), LAST),
        ((("sendlog-recorded-at", b"%d" % FIRST),), FIRST),
        ((("sendlog-recorded-at", b"%d" % (FIRST - 1)),), READ),
        ((("sendlog-recorded-at", b"%d" % (LAST + 1)),), READ),
        ((("recorded-at", b"1700000000000"),), OWN),
        ((("sendlog-recorded-at", b"01700000000000"),), OWN),
        ((("sendlog-recorded-at", b"-1"),), OWN),
        ((("sendlog-recorded-at", b""),), OWN),
        ((("sendlog-recorded-at", None),), OWN),
    ],
)
def test_a_record_arrived_when_the_header_of_a_replay_says_or_when_it_was_published(
    monkeypatch, headers, expected
):
    monkeypatch.setattr(records, "time", lambda: READ / 1000)
    assert recorded_ms(SimpleNamespace(timestamp=OWN, headers=headers)) == expected


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [(FIRST, FIRST), (LAST, LAST), (FIRST - 1, READ), (LAST + 1, READ), (0, READ), (None, READ)],
)
def test_a_time_outside_of_1990_to_2099_is_that_of_the_reading(monkeypatch, timestamp, expected):
    monkeypatch.setattr(records, "time", lambda: READ / 1000)
    assert recorded_ms(SimpleNamespace(timestamp=timestamp, headers=())) == expected


def test_headers_are_text_by_names_without_case_and_the_last_of_several_counts():
    headers = [("X-A", b"1"), ("x-a", "ü".encode()), ("b", None), ("c", b"\xff")]
    record = SimpleNamespace(headers=headers)
    assert text_headers(record) == {"x-a": "ü", "b": "", "c": "\ufffd"}
    assert text_headers(SimpleNamespace(headers=None)) == {}
