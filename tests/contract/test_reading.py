"""What reads a provider's JSON fast gives what pydantic would, or leaves it to pydantic."""

from __future__ import annotations

import pytest
from msgspec import MsgspecError
from msgspec.json import Decoder
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from schemas.providers import adapters
from schemas.providers._common import (
    reader,
)
from tests.fuzz.mutations import spoiled

#: The types that adapters read a payload as.
READ = [
    ("aws_sms", "_Push"), ("mailersend", "_Event"), ("mailgun", "_Push"), ("postmark", "_Record"),
    ("scaleway", "_Push"), ("ses", "_Push"), ("ses", "_Headed"), ("sinch", "_Report"),
    ("telnyx", "_Push"), ("vonage", "_Push"), ("zeptomail", "_Push"),
]  # fmt: skip


class Thing(TypedDict, total=False):
    """Something to read."""

    name: str
    count: int


def judged(read, payload):
    """Return what is read, or None for what is refused."""
    try:
        return read(payload)
    except (MsgspecError, RecursionError, UnicodeError, ValidationError):
        return None


def is_utf8(payload):
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(("provider", "name"), READ)
def test_what_is_read_fast_is_what_pydantic_reads(provider, name):
    kind = getattr(adapters()[provider], name)
    fast, slow = Decoder(kind).decode, TypeAdapter(kind).validator.validate_json
    either, read = reader(kind), 0
    for payload, _ in spoiled(provider, 3_000):
        fast_value, strict_value = judged(fast, payload), judged(slow, payload)
        if (
            strict_value is None and fast_value is not None
        ):  # bytes of other members, which nobody reads
            assert not is_utf8(payload)
            continue
        assert repr(judged(either, payload)) == repr(fast_value or strict_value)
        if fast_value is not None:
            assert fast_value == strict_value
            assert {name: type(value) for name, value in fast_value.items()} == {
                name: type(value) for name, value in strict_value.items()
            }
            read += 1
    assert read > 300


def test_no_adapter_that_reads_so_is_left_out():
    reading = {name for name, adapter in adapters().items() if hasattr(adapter, "reader")}
    assert reading == {provider for provider, _ in READ}


def test_what_cannot_be_read_fast_is_read_by_pydantic_which_says_what_is_wrong():
    read = reader(Thing)
    assert read(b'{"count": "7", "other": [1]}') == {"count": 7}
    assert read('{"name": "a", "name": "b"}') == {"name": "b"}
    for payload, wrong in (
        (b'{"name": 1}', r"name\n  Input should be a valid string"),
        (b'{"name": "\xff"}', "invalid unicode"),
        (b'{"name": "\\ud800"}', "hex escape"),
        (b"{", "EOF"),
        (b'{"other": ' + b"[" * 5_000, "recursion limit"),
    ):
        with pytest.raises(ValidationError, match=wrong):
            read(payload)
