"""A hundred thousand spoiled payloads: whatever a provider may push gives facts or rejections.

Each is a real-looking payload with one to three things wrong with it: bytes flipped, cut or put in,
values of another type, members gone or twice, numbers out of all bounds, texts in any script or in
the wrong encoding. The seed is fixed: a payload that fails fails again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, quote_plus

import pytest

from processor.intake.decoder import Decoder
from processor.kafka.topics import feed_topic
from processor.settings import IntakeSettings
from schemas.events import (
    KINDS_BY_CHANNEL,
    MAX_EVENT_TIME,
    MIN_EVENT_TIME,
    MessageEvent,
    milliseconds,
)
from schemas.providers import Decoded, UnreadableError, adapters, decode, normalise
from tests.chunks import chunk_of
from tests.paths import PAYLOADS

RECORDED_AT = datetime(2025, 6, 1, 12, 0, 0, 5_000, tzinfo=UTC)
CAME = milliseconds(RECORDED_AT)
MANY = 100_000
CHUNK = 500
FINGERPRINT = re.compile(r"[0-9a-f]{32}")

#: What may stand where something sensible should.
ODD_TEXTS = (
    "", " ", "\0", "a\0b", "NaN", "null", "0", "-1", "1e999", "9" * 400,
    "{}", "[]", '{"a":', "=&=&", "%", "%zz",
    "\ufeff", "\u202e", "İstanbul@EXAMPLE.ORG", "ß@example.org", "\U0001d51e@example.org",
    "\U0001f4a9" * 50, "e\u0301" * 20, "\ud800", "2025-02-30T00:00:00Z", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00", "2025-05-06T07:10:11", "x" * 300, "y" * 70_000, "550 5.1.1",
    "a@b@c", "<>", "Ann <ann@example.org", "\r\n550\r\n", "'; --", "١٢٣", "\uff11\uff12",
)  # fmt: skip
ODD_NUMBERS = (
    0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 1e308, 1e-308, 0.1, -0.0, 253_402_300_800,
    float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
ODD_VALUES = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": ""},
    [{}],
    {"a": {"b": [1, {"c": None}]}},
)
#: What a mail begins with, or a line of a log.
LINES = re.compile(r"(?:[A-Z][\w-]+: |\w{3} [ \d]\d |\d{4}-\d\d-\d\dT).*\n")
ENCODINGS = ("utf-16", "utf-32", "utf-8-sig", "latin-1", "cp1252", "cp037")

Change = Callable[[bytes, Random], bytes]


# ------------------------------------------------------------------------- spoiling bytes


def flip(payload: bytes, rng: Random) -> bytes:
    """Change some bits."""
    raw = bytearray(payload)
    for _ in range(rng.randint(1, 8)):
        if raw:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def cut(payload: bytes, rng: Random) -> bytes:
    """End too early, or begin too late."""
    place = rng.randint(0, len(payload))
    return payload[:place] if rng.random() < 0.8 else payload[place:]


def put_in(payload: bytes, rng: Random) -> bytes:
    """Put in what does not belong there."""
    place = rng.randint(0, len(payload))
    odd = rng.choice(
        (b"\0", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\\ud83d", rng.randbytes(5))
    )
    return payload[:place] + odd + payload[place:]


def repeat(payload: bytes, rng: Random) -> bytes:
    """Say a part of it twice."""
    start = rng.randint(0, len(payload))
    end = min(len(payload), start + rng.randint(1, 200))
    return payload[:end] + payload[start:]


def recode(payload: bytes, rng: Random) -> bytes:
    """Write it in another encoding."""
    return payload.decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")


# ----------------------------------------------------------------------- spoiling values


def spoil(payload: bytes, rng: Random) -> bytes:
    """Spoil one value of JSON or of a form, also of JSON within either."""
    text = payload.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (RecursionError, ValueError):
        return spoil_lines(text, rng) if LINES.match(text) else spoil_form(text, rng)
    return dumped(spoil_value(value, rng), rng)


def dumped(value: Any, rng: Random) -> bytes:
    """Write JSON, now and then with a member twice, or deep within lists."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.8)
    if isinstance(value, dict) and value and rng.random() < 0.1:
        name = rng.choice(list(value))
        text = text[:-1] + f", {json.dumps(name)}: {json.dumps(odd(rng))}}}"
    if rng.random() < 0.02:
        depth = rng.choice((1, 3, 200, 5_000))
        text = "[" * depth + text + "]" * depth
    return text.encode("utf-8", "surrogatepass")


def spoil_value(value: Any, rng: Random) -> Any:
    """Go down to some place, and put something odd there."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        match rng.randrange(12):
            case 0:
                return {key: kept for key, kept in value.items() if key != name}
            case 1:
                return {(key.upper() if key == name else key): kept for key, kept in value.items()}
            case 2:
                return {**value, name: [value[name]]}
        return {**value, name: spoil_value(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        if rng.random() < 0.1:
            return value + value[place:]
        return [*value[:place], spoil_value(value[place], rng), *value[place + 1 :]]
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and rng.random() < 0.8:
        return spoil(value.encode("utf-8", "surrogatepass"), rng).decode("utf-8", "surrogatepass")
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.3:
        return str(value)
    return odd(rng)


def odd(rng: Random) -> Any:
    return rng.choice(rng.choice((ODD_TEXTS, ODD_NUMBERS, ODD_VALUES)))


def spoil_form(text: str, rng: Random) -> bytes:
    """Spoil a field of a form: gone, twice, or with an odd name or value."""
    fields = parse_qsl(text, keep_blank_values=True)
    if not fields:
        return put_in(text.encode("utf-8", "surrogatepass"), rng)
    place = rng.randrange(len(fields))
    name, value = fields[place]
    if value[:1] in ("{", "[") and rng.random() < 0.7:
        inner = spoil(value.encode("utf-8", "surrogatepass"), rng)
        return written([*fields[:place], (name, inner), *fields[place + 1 :]])
    match rng.randrange(5):
        case 0:
            del fields[place]
        case 1:
            fields.append((name, in_text(odd(rng))))
        case 2:
            fields[place] = (name.swapcase(), value)
        case 3:
            return text.replace("=", "", 1).encode("utf-8", "surrogatepass")
        case _:
            fields[place] = (name, in_text(odd(rng)))
    return written(fields)


def spoil_lines(text: str, rng: Random) -> bytes:
    """Spoil a line of a mail or a log: gone, twice, elsewhere, or with an odd value."""
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    line = lines.pop(place)
    name, between, value = line.partition(rng.choice((":", "=", ";", " ")))
    match rng.randrange(5):
        case 0:
            pass
        case 1:
            lines.insert(rng.randint(0, len(lines)), line)
        case 2:
            lines[place:place] = [line, line]
        case 3:
            lines.insert(place, name.swapcase() + between + value)
        case _:
            lines.insert(place, name + between + in_text(odd(rng)))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def in_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def written(fields: list[tuple[str, Any]]) -> bytes:
    return "&".join(
        "=".join(quote_plus(bytes_of(half)) for half in pair) for pair in fields
    ).encode()


def bytes_of(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


#: Most keep the layout: what is no JSON at all says little about an adapter.
CHANGES: tuple[Change, ...] = (*(spoil,) * 15, flip, cut, put_in, repeat, recode)


def spoiled(provider: str, count: int) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Yield `count` spoiled payloads of a provider, with headers that are sometimes odd too."""
    rng = Random(f"mutations of {provider}")
    cases = [
        json.loads(path.read_text("utf-8")) for path in sorted((PAYLOADS / provider).glob("*.json"))
    ]
    for number in range(count):
        case = cases[number % len(cases)]
        payload = case["payload"].encode()
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            payload = rng.choice(CHANGES)(payload, rng)
        headers = dict(case.get("headers") or {})
        if rng.random() < 0.1:
            headers["x-callback-query"] = in_text(odd(rng))
        for name in headers:
            if rng.random() < 0.05:
                headers[name] = in_text(odd(rng))
        # As the worker reads them: a record's headers are bytes.
        yield payload, {n: text.encode("utf-8", "replace").decode() for n, text in headers.items()}


# ------------------------------------------------------------------------------ the law


def sound(decoded: Decoded, channel: str) -> None:
    """Assert that every event is a fact that can be stored, and that every rejection says why."""
    for fields in decoded.events:
        event = MessageEvent.model_validate(fields)
        assert event.kind in KINDS_BY_CHANNEL[channel]
        assert MIN_EVENT_TIME <= event.occurred_at < MAX_EVENT_TIME
        assert event.occurred_at.utcoffset() == timedelta(0)
        assert event.occurred_at.microsecond % 1000 == 0
        assert fields["recipient"] == event.recipient == event.recipient.strip().lower()
        assert event.tenant_id
        assert FINGERPRINT.fullmatch(event.event_id)
        assert (event.bounce_class is not None) == (event.kind == "bounce")
    for part in decoded.rejected:
        assert part.reason
        assert isinstance(part.raw, bytes)


@pytest.mark.parametrize("provider", adapters())
def test_a_spoiled_payload_gives_sound_facts_or_rejections_and_always_the_same(provider) -> None:
    adapter = adapters()[provider]
    payloads = with_events = 0
    for payload, headers in spoiled(provider, -(-MANY // len(adapters()))):
        decoded = decode(adapter, payload, headers, CAME, "default")
        again = decode(adapter, payload, headers, CAME, "default")
        assert decoded == again, payload
        sound(decoded, adapter.CHANNEL)
        payloads += 1
        with_events += bool(decoded.events)
    # Neither is everything refused, nor does everything pass: the mutations reach the adapters.
    assert 0.05 < with_events / payloads < 0.95


@pytest.mark.parametrize("provider", adapters())
def test_a_spoiled_payload_is_read_in_full_or_refused_with_a_reason(provider) -> None:
    adapter, outcomes, reasons = adapters()[provider], Counter(), set()
    for payload, headers in spoiled(provider, 500):
        decoded = decode(adapter, payload, headers, CAME, "default")
        try:
            events = normalise(provider, payload, headers, RECORDED_AT)
        except UnreadableError as error:
            assert decoded.rejected
            reasons.add(str(error))
            outcomes["refused"] += 1
        else:
            assert not decoded.rejected
            assert len(events) == len(decoded.events)
            outcomes["read"] += bool(events)
    assert min(outcomes["refused"], outcomes["read"]) > 10, outcomes
    assert all(reasons)


@pytest.mark.parametrize("provider", adapters())
def test_what_is_a_fact_can_be_stored(provider) -> None:
    decoder = Decoder(IntakeSettings(), max_record_bytes=8_388_608)
    topic = feed_topic(adapters()[provider].CHANNEL, provider)
    payloads, stored = spoiled(provider, 2_000), 0
    while chunk := [
        SimpleNamespace(
            topic=topic, partition=0, offset=number, value=payload, timestamp=1_748_779_200_005,
            headers=[(name, text.encode()) for name, text in headers.items()],
        )
        for number, (payload, headers) in enumerate(islice(payloads, CHUNK))
    ]:  # fmt: skip
        batch = decoder(chunk_of(chunk))
        assert not [
            rejection
            for rejection in batch.rejections
            if rejection.reason.startswith("cannot be read")
        ]
        batch.events.validate(full=True)
        stored += batch.events.num_rows
    assert stored > 100
