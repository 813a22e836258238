"""Spoiled inputs: examples with something wrong with them, drawn from a seed.

An input is JSON, a form, a mail, lines of a log or any text. Bytes are flipped, cut or put in,
values get another type, members are gone or twice, numbers are out of all bounds, texts are huge,
in any script or in the wrong encoding, and what is nested goes deep.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote_plus

from tests.paths import PAYLOADS

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


def nest(payload: bytes, rng: Random) -> bytes:
    """Open what is never closed, many times, where a value may stand."""
    places = [found.end() for found in re.finditer(rb"[=:,;<(\n]", payload)] or [0]
    place = rng.choice(places)
    opened = rng.choice((b"[", b"{", b'{"a":', b"[{a=", b"(", b"<", b'"', b"--b\n"))
    return payload[:place] + opened * rng.choice((2, 50, 1_100, 20_000)) + payload[place:]


def inflate(payload: bytes, rng: Random) -> bytes:
    """Say a part of it so often that it is large: what takes its square in time is noticed."""
    start = rng.randint(0, len(payload))
    part = payload[start : start + rng.randint(1, 60)] or b" "
    return payload[:start] + part * (rng.choice((2_000, 40_000)) // len(part)) + payload[start:]


#: Those of a long search, which also looks for depth and size.
SEARCH_CHANGES: tuple[Change, ...] = (*CHANGES * 2, nest, inflate)


class Example(NamedTuple):
    """An input as it may come, with its headers."""

    payload: bytes
    headers: dict[str, str]


def examples_of(provider: str) -> list[Example]:
    """Return the example payloads of a provider."""
    cases = [
        json.loads(path.read_text("utf-8")) for path in sorted((PAYLOADS / provider).glob("*.json"))
    ]
    return [Example(case["payload"].encode(), dict(case.get("headers") or {})) for case in cases]


def spoiled_example(
    example: Example, rng: Random, changes: tuple[Change, ...] = CHANGES
) -> Example:
    """Return an example with one to three things wrong with it, and headers sometimes odd too."""
    payload = example.payload
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        payload = rng.choice(changes)(payload, rng)
    headers = dict(example.headers)
    if rng.random() < 0.1:
        headers["x-callback-query"] = in_text(odd(rng))
    for name in headers:
        if rng.random() < 0.05:
            headers[name] = in_text(odd(rng))
    # As the worker reads them: a record's headers are bytes.
    headers = {n: text.encode("utf-8", "replace").decode() for n, text in headers.items()}
    return Example(payload, headers)


def spoiled(provider: str, count: int) -> Iterator[Example]:
    """Yield `count` spoiled payloads of a provider, the same ones each time."""
    rng, examples = Random(f"mutations of {provider}"), examples_of(provider)
    for number in range(count):
        yield spoiled_example(examples[number % len(examples)], rng)
