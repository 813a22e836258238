"""A dead letter fits its topic, whatever the record was; and what was cut is on it."""

from __future__ import annotations

import pytest

from processor.intake.dead_letters import (
    HEADER_PREFIX,
    MAX_PUBLISHED_BYTES,
    DeadLetter,
    to_pointer,
    to_record,
)

MEGABYTE = 1024 * 1024


def letter(raw=b"raw", headers=None, reason="because"):
    return DeadLetter(
        topic="email.sends", partition=1, offset=7, element=None, recorded_ms=0,
        reason=reason, raw=raw, headers=headers or {},
    )  # fmt: skip


def size(record):
    headers = sum(len(name.encode()) + len(value) for name, value in record.headers)
    return len(record.key) + len(record.value) + headers


def about(record):
    return {
        name.removeprefix(HEADER_PREFIX): value
        for name, value in record.headers if name.startswith(HEADER_PREFIX)
    }  # fmt: skip


def test_what_fits_is_published_whole():
    record = to_record(letter(b"x" * 14 * MEGABYTE, {"x-own": "1"}))
    assert len(record.value) == 14 * MEGABYTE
    assert ("x-own", b"1") in record.headers
    assert not {"truncated-from", "headers-cut"} & about(record).keys()


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (16 * MEGABYTE, {}),
        (0, {f"x-{n}": "\ufffd" * MEGABYTE for n in range(16)}),
        (16 * MEGABYTE, {f"x-{n}": "\ufffd" * MEGABYTE for n in range(16)}),
        (16 * MEGABYTE, {f"x-{n}": "1" for n in range(500_000)}),
    ],
)
def test_value_and_headers_are_cut_to_what_the_topic_takes(raw, headers):
    record = to_record(letter(b"x" * raw, headers))
    assert size(record) <= MAX_PUBLISHED_BYTES + 100
    own = [name for name, _ in record.headers if not name.startswith(HEADER_PREFIX)]
    cut = about(record).get("headers-cut", b"0")
    assert len(own) + int(cut) == len(headers)
    if raw:
        assert about(record)["truncated-from"] == b"%d" % raw
        assert len(record.value) >= 13 * MEGABYTE
    assert (about(record)["topic"], about(record)["offset"]) == (b"email.sends", b"7")


def test_a_value_that_is_cut_leaves_room_for_its_headers():
    headers = {f"x-{n}": "y" * 1000 for n in range(100)}
    record = to_record(letter(b"x" * 16 * MEGABYTE, headers))
    own = {name: value.decode() for name, value in record.headers if name in headers}
    assert own == headers
    assert "headers-cut" not in about(record)
    assert about(record)["truncated-from"] == b"%d" % (16 * MEGABYTE)


def test_a_pointer_is_small_whatever_the_record_was():
    huge = letter(b"x" * MEGABYTE, {"x": "y" * MEGABYTE}, reason="\ufffd" * MEGABYTE)
    record = to_pointer(huge)
    assert size(record) < 2_000
    assert record.key == b"email.sends/1/7"
    assert about(record)["truncated-from"] == b"%d" % MEGABYTE
    assert about(record)["reason"] == ("\ufffd" * MEGABYTE).encode()[:1000]
