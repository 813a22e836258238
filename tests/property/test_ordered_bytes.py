"""Values packed as bytes: they come out as they went in, and are in the same order."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from projections.column_types import BOOL, NUMBER, STRING, TIME
from projections.expressions import column
from projections.ordered_bytes import packed, packed_item, unpack, zero_values
from projections.tables import projections
from tests.strategies import pack, values

KINDS = sorted({f.kind for log in projections().values() for f in log.folds if f.is_packed})


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_bytes_are_in_the_order_of_the_values_they_stand_for(kind, data):
    one, other = data.draw(values(kind)), data.draw(values(kind))
    assert unpack(pack(one, kind), kind) == one
    assert (pack(one, kind) < pack(other, kind)) == (one < other)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=60))
@example(data=b"\xff" * 40)  # a negative time
@example(data=b"\x7f" * 40)  # a time in the year 292 million
@example(data=b"\x00\x06\x4f" + b"\x00" * 30)  # microseconds
@example(data=b"\x01")
def test_any_stored_bytes_can_be_read(kind, data):
    read = unpack(data, kind)
    assert len(read) == len(zero_values(kind))
    times = [value for value in read if isinstance(value, datetime)]
    assert all(1900 <= value.year < 2300 for value in times)


def test_texts_lose_their_zero_bytes():
    both = packed(at=column("at", TIME), kind=column("a", STRING), id=column("b", STRING))
    assert both.evaluate({"at": 5, "a": "x\0y", "b": "\0"}) == (5, "xy", "")


def test_texts_are_packed_last():
    with pytest.raises(ValueError, match="texts are packed last"):
        packed(text=column("text", STRING), number=column("number", NUMBER))


def test_a_value_that_is_not_packed_is_an_error():
    both = packed(sure=column("sure", BOOL), number=column("number", NUMBER))
    with pytest.raises(KeyError, match="'text'"):
        packed_item(both, "text")
