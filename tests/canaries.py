"""Payloads of all providers with an address in every field that can have it, in many writings."""

from __future__ import annotations

import base64
import html
import json
import re
from itertools import cycle
from urllib.parse import parse_qsl, quote, urlencode

from schemas.providers import normalise
from tests.contract.test_providers import CASES, RECORDED_AT

EMAIL = "canary.person@perch.example"
PHONE = "+447911654321"


def email_writings(address=EMAIL):
    """Return an address in many writings."""
    name, _, domain = address.partition("@")
    quoted = "".join(f"={ord(sign):02X}" if sign in "@." else sign for sign in address)
    return [
        address, address.upper(), f"<{address}>", quote(address, safe=""),
        quote(quote(address, safe=""), safe=""), quoted, f"{quoted[:14]}=\r\n{quoted[14:]}",
        address.replace("@", "\\u0040"), html.escape(address).replace("@", "&#64;"),
        f"bounces+{name}={domain}@mail.acme.example",
        base64.b64encode(f"to={address};".encode()).decode(),
        base64.encodebytes(b"X" * 50 + address.title().encode() + b"Y" * 20).decode(),
    ]  # fmt: skip


def phone_writings(number=PHONE):
    """Return a British number in many writings."""
    national = number[3:]
    return [
        number, f"+44 {national[:4]} {national[4:]}", f"0{national}", f"00{number[1:]}",
        f"0{national[:4]}-{national[4:7]}-{national[7:]}", f"+44 (0) {national}",
        quote(number, safe=""), base64.b64encode(f"to={number};".encode()).decode(),
    ]  # fmt: skip


def payloads(every=1):
    """Yield (name, provider, payload, headers) of each example, about the canary, or every nth."""
    for name, case in list(CASES.items())[::every]:
        channel, address = _recipient(case)
        if not address:
            continue
        canary = EMAIL if channel == "email" else PHONE
        old = address if channel == "email" else address.lstrip("+")
        whole = rf"(?<![\w.+-]){re.escape(old)}" if channel == "email" else re.escape(old)
        payload = re.sub(whole, canary.lstrip("+"), case["payload"], flags=re.IGNORECASE)
        if canary not in _recipients(case, payload):
            continue
        writings = cycle(email_writings() if channel == "email" else phone_writings())
        yield name, case["provider"], _filled(case, payload, canary, writings), case["headers"]


def _recipient(case):
    for event in case["expected"]:
        if event.get("recipient"):
            return event["channel"], event["recipient"]
    return "", ""


def _recipients(case, payload):
    try:
        events = normalise(
            case["provider"], payload.encode(), case.get("headers") or {}, RECORDED_AT
        )
    except ValueError:
        return []
    return sorted(event.recipient for event in events)


def _filled(case, payload, canary, writings):
    """Return a payload with the canary behind each text that it may stand behind."""
    wanted = _recipients(case, payload)
    form, dump = _form_of(payload)
    if form is None or _recipients(case, dump(form)) != wanted:
        return payload
    for path in list(_paths(form)):
        text = _get(form, path)
        _set(form, path, f"{text} {next(writings)}")
        if _recipients(case, dump(form)) != wanted:
            _set(form, path, text)
    assert _recipients(case, dump(form)) == wanted
    return dump(form)


def _form_of(payload):
    """Return a payload as values in values, and what makes it a payload again; None: it is text."""
    try:
        return json.loads(payload), json.dumps
    except ValueError:
        pairs = parse_qsl(payload, keep_blank_values=True)
        if not pairs or "\n" in payload:
            return None, None
        return dict(pairs), urlencode


def _paths(value, path=()):
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key in value:
            yield from _paths(value[key], (*path, key))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _paths(each, (*path, place))


def _get(form, path):
    for step in path:
        form = form[step]
    return form


def _set(form, path, value):
    if not path:
        return
    for step in path[:-1]:
        form = form[step]
    form[path[-1]] = value
