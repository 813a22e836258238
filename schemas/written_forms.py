"""How an address may be written in texts and bytes: a pattern that finds it in all of these forms.

In any case; percent-encoded, also twice; quoted-printable; as JSON or HTML escapes; in base64 at
any place; with the letters of its domain; in a variable return path. A phone number with any
separators, with and without its country. The pattern is for Python and for RE2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import phonenumbers

from schemas.addresses import Address, shown_address

#: What parts a text into lines, also as JSON escapes, and may stand within an address in base64 or
#: quoted-printable.
LINE_BREAKS: Final = r"=?(?:\r|\n|\\+[rn])+[ \t]*"
#: A character in front of an address is not of a longer one, unless it ends an escape.
_ESCAPE: Final = r"(?:%(?:25)*|=|\\+u00|\\+x)[0-9A-Fa-f]{2}|\\+[rntbf]"
_BEFORE_EMAIL: Final = rf"(?:^|[^A-Za-z0-9.!#$&'*/?^_`{{|}}~+%-]|{_ESCAPE})"
_BEFORE_RETURN_PATH: Final = rf"(?:^|[^A-Za-z0-9.!#$&'*/?^_`{{|}}~%]|{_ESCAPE})"
_AFTER_DOMAIN: Final = r"(?:$|[^A-Za-z0-9.-]|[.-](?:$|[^A-Za-z0-9]))"
_BEFORE_NUMBER: Final = rf"(?:^|[^0-9]|{_ESCAPE})"
_AFTER_NUMBER: Final = r"(?:$|[^0-9])"
_SEPARATORS: Final = r"(?:[ .()/+\xa0-]|%20|%28|%29|%2D|\\+u00a0){0,3}"
#: A number without its country and without a trunk prefix is only known by so many digits.
MIN_NATIONAL_DIGITS: Final = 9
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE64_CHARACTERS: Final = {"+": r"(?:[+-]|%2B)", "/": r"(?:[/_]|\\/|%2F)"}
_CASE_BIT: Final = 0x20
_CACHED_PATTERNS: Final = 1024


@lru_cache(_CACHED_PATTERNS)
def written_pattern(address: Address, *, is_glued: bool = False) -> str:
    """Return the pattern of all forms of an address, for a text with or without its line breaks.

    If it `is_glued`, something else may stand before it that could be of a longer address.
    """
    if address.channel == "email":
        return "|".join(_email_forms(address.address, is_glued=is_glued))
    return "|".join(_number_forms(address.address))


def names_address(address: Address, text: str, *, is_glued: bool = False) -> bool:
    """Tell whether an address stands in a text, in any form."""
    pattern = _compiled(address, is_glued=is_glued)
    return bool(pattern.search(text) or pattern.search(re.sub(LINE_BREAKS, "", text)))


@lru_cache(_CACHED_PATTERNS)
def _compiled(address: Address, *, is_glued: bool) -> re.Pattern[str]:
    return re.compile(written_pattern(address, is_glued=is_glued))


def _email_forms(address: str, *, is_glued: bool) -> Iterator[str]:
    for form in dict.fromkeys((address, shown_address(address))):
        name, _, domain = form.rpartition("@")
        local, host, at = _written(name), _written(domain), f"(?:{_written('@')}|&commat;)"
        equals, before = _written("="), "" if is_glued else _BEFORE_EMAIL
        yield f"{before}{local}{at}{host}{_AFTER_DOMAIN}"
        yield f"{_BEFORE_RETURN_PATH}{local}{equals}{host}{_AFTER_DOMAIN}"
        yield f"{equals}{host}{equals}{local}{at}"
        for sign in ("@", "%40", "=40", r"\u0040"):
            yield from _in_base64(f"{name}{sign}{domain}")


def _number_forms(number: str) -> Iterator[str]:
    digits = number.removeprefix("+")
    country, national = _parts(number)
    separated = [_SEPARATORS.join(map(_written, part)) for part in (country, national) if part]
    trunk = f"(?:{_SEPARATORS}0)?" if country else ""
    whole = f"{_SEPARATORS}{trunk}{_SEPARATORS}".join(separated)
    yield f"{_BEFORE_NUMBER}(?:00|011)?{_SEPARATORS}{whole}{_AFTER_NUMBER}"
    if country:
        yield f"{_BEFORE_NUMBER}0{_SEPARATORS}{separated[1]}{_AFTER_NUMBER}"
        if len(national) >= MIN_NATIONAL_DIGITS:
            yield f"{_BEFORE_NUMBER}{separated[1]}{_AFTER_NUMBER}"
    yield from _in_base64(digits)


def _parts(number: str) -> tuple[str, str]:
    """Return the country and the rest of a number; the country is '' of what names none."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return "", number.removeprefix("+")
    return str(parsed.country_code), phonenumbers.national_significant_number(parsed)


def _written(text: str) -> str:
    """Return the pattern of a text, each character plain or escaped, in any case."""
    return "".join(map(_written_character, text))


def _written_character(character: str) -> str:
    cases = dict.fromkeys((character, character.lower(), character.upper()))
    plain = [re.escape(each) for each in cases if len(each) == 1]
    if not character.isascii():
        octets = "".join(f"(?:%(?:25)*|=){_hex(octet)}" for octet in character.encode())
        escaped = rf"\\+u{_hex(ord(character) >> 8)}{_hex(ord(character) & 0xFF)}"
        return f"(?:{'|'.join([*plain, octets, escaped])})"
    codes = "|".join(_hex(ord(each)) for each in cases)
    numbers = "|".join(f"0*{ord(each)}|[xX]0*{_hex(ord(each))}" for each in cases)
    return rf"(?:{'|'.join(plain)}|(?:%(?:25)*|=|\\+u00|\\+x)(?:{codes})|&#(?:{numbers});)"


def _hex(octet: int) -> str:
    return "".join(
        f"[{digit}{digit.lower()}]" if digit.isalpha() else digit for digit in f"{octet:02X}"
    )


def _in_base64(text: str) -> Iterator[str]:
    """Yield the pattern of a text within base64: its letters in any case, at each of three places.

    A bit that is not known is that of a letter's case, or of a neighbour of the text.
    """
    octets = text.encode()
    for before in range(3):
        bits: list[int | None] = [None] * (8 * before)
        for octet in octets:
            free = _CASE_BIT if chr(octet).isalpha() else 0
            bits += [
                None if free >> place & 1 else octet >> place & 1 for place in range(7, -1, -1)
            ]
        bits += [None] * (-len(bits) % 6)
        groups = [bits[start : start + 6] for start in range(0, len(bits), 6)]
        known = [group for group in groups if any(bit is not None for bit in group)]
        yield "".join(_base64_class(group) for group in known)


def _base64_class(bits: Sequence[int | None]) -> str:
    """Return the pattern of the characters of base64 that six bits may be."""
    possible = [
        character for number, character in enumerate(_BASE64)
        if all(bit is None or number >> (5 - place) & 1 == bit for place, bit in enumerate(bits))
    ]  # fmt: skip
    plain = "".join(each for each in possible if each not in _BASE64_CHARACTERS)
    others = [_BASE64_CHARACTERS[each] for each in possible if each in _BASE64_CHARACTERS]
    return (
        f"(?:{'|'.join([f'[{plain}]', *others] if plain else others)})"
        if others
        else (plain if len(plain) == 1 else f"[{plain}]")
    )
