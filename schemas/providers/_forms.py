"""Callbacks that come as a form, a query or a JSON object, whichever the sender has chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from schemas.providers._common import as_text, parsed_json
from schemas.providers._rejections import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator


def text_fields(payload: bytes, names: frozenset[str]) -> dict[str, str]:
    """Return the fields in `names` of a form, a query or a JSON object, as texts.

    Their names are read in lower case. A list's values, and different ones of a form's field, have
    commas between them. Raises `UnreadableError` for any other JSON.
    """
    fields: dict[str, str] = {}
    for name, value in _pairs(payload, names):
        before = fields.setdefault(name, value)
        if before != value:
            fields[name] = f"{before},{value}"
    return fields


def _pairs(payload: bytes, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    if payload.lstrip()[:1] in (b"{", b"["):
        body = parsed_json(payload)
        if not isinstance(body, dict):
            raise UnreadableError("the body is not a JSON object")
        for name, value in body.items():
            if (lowered := name.lower()) in names:
                yield lowered, as_text(value)
        return
    for pair in payload.decode("utf-8", "replace").removeprefix("?").split("&"):
        name, _, value = pair.partition("=")
        if "%" in name or "+" in name:
            name = unquote_plus(name)
        if (lowered := name.lower()) in names:  # only these are worth decoding
            yield lowered, unquote_plus(value) if "%" in value or "+" in value else value
