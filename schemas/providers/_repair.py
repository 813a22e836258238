"""Characters that some senders' JSON has and no text may: halves of a pair, and control bytes.

Half of a surrogate pair is what is left of an emoji that was cut in two, often by the provider at
the length of a field. One of them must not cost the other events of a batch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from schemas.events import EventFields

_HIGH: Final = rb"[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"[dD][c-fC-F][0-9a-fA-F]{2}"
#: An escape of JSON, also of JSON within JSON and within a form.
_ESCAPE: Final = rb"(\\+u|(?:%5[Cc])+u)"
_SURROGATES: Final = re.compile(rb"%b%b(?:\1%b)?|%b%b" % (_ESCAPE, _HIGH, _LOW, _ESCAPE, _LOW))
_REPLACEMENT: Final = b"fffd"
_JSON_BEGINNINGS: Final = (b"{", b"[")
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def without_lone_surrogates(payload: bytes) -> bytes:
    """Return a payload with a replacement character for each half of a surrogate pair."""
    return _SURROGATES.sub(_paired, payload)


def _paired(match: re.Match[bytes]) -> bytes:
    high, low = match[1], match[2]
    if high and match[0].count(high) > 1:
        return match[0]
    return (high or low) + _REPLACEMENT


def may_have_control_bytes(payload: bytes) -> bool:
    """Return whether an event of a payload may hold control bytes; nearly none does.

    It is asked of every payload: a single search does for JSON, which has them as escapes only.
    """
    if payload[:1] in _JSON_BEGINNINGS:
        return b"\\u00" in payload
    return b"%0" in payload or b"%1" in payload or b"\\u00" in payload or b"\0" in payload


def strip_control_bytes(event: EventFields) -> None:
    """Remove control bytes from the texts of an event: an id with one would be another id."""
    texts = {name: value for name, value in event.items() if isinstance(value, str)}
    for name, text in texts.items():
        if _CONTROL.search(text):
            cast("dict[str, str]", event)[name] = _CONTROL.sub("", text)
