"""Every parser of what others send, with its examples and what it has to keep to.

A parser takes an input or refuses it in the documented way: whatever else it raises is a fault.
What it made of the input has to be sound, and has to be writable again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

from processor.intake.decoder import Decoder
from processor.kafka.topics import COMMANDS_TOPIC, DECISIONS_TOPIC, MAILER_CHANNELS
from processor.settings import IntakeSettings
from schemas.providers import UnreadableError, adapters, decode, signatures
from schemas.providers._mail import read_mail
from schemas.providers._multipart import multipart_fields
from schemas.providers.reports import query_headers
from tests import signing
from tests.chunks import chunk_of
from tests.fuzz.mutations import SEARCH_CHANGES, Change, Example, examples_of
from tests.fuzz.soundness import sound
from tests.mailboxes import mails

CAME = 1_748_779_200_005
NOW = 1_750_000_000
LIMIT = 8_388_608

#: Takes an input; returns whether it was accepted.
Check = Callable[[Example], bool]


class Parser(NamedTuple):
    """One parser: what it is called in reports, inputs as they should be, and how it is asked."""

    kind: str
    name: str
    examples: list[Example]
    check: Check
    changes: tuple[Change, ...] = SEARCH_CHANGES


def jsons(*values: object) -> list[Example]:
    return [Example(json.dumps(value).encode(), {}) for value in values]


def texts(*values: str) -> list[Example]:
    return [Example(value.encode(), {}) for value in values]


def refusal(check: Callable[[Example], object], *errors: type[Exception]) -> Check:
    """Return a check that takes these errors, whose text can be shown, for a refusal."""

    def checked(example: Example) -> bool:
        try:
            check(example)
        except errors as error:
            str(error).encode("utf-8", "backslashreplace")
            return False
        return True

    return checked


# ---------------------------------------------------------------------- what comes by Kafka


def read_events(provider: str, example: Example) -> bool:
    adapter = adapters()[provider]
    decoded = decode(adapter, example.payload, example.headers, CAME, "default")
    sound(decoded, adapter.CHANNEL)
    for fields in decoded.events:
        json.dumps(fields, default=str, ensure_ascii=False).encode()
    return bool(decoded.events)


DECODER = Decoder(IntakeSettings(), max_record_bytes=LIMIT)


def decode_record(topic: str, example: Example) -> bool:
    """Have the decoder read a record; it must foresee all that is wrong with it."""
    record = SimpleNamespace(
        topic=topic, partition=0, offset=1, value=example.payload, timestamp=CAME, headers=[],
    )  # fmt: skip
    decoded = DECODER(chunk_of([record]))
    assert not [part for part in decoded.rejections if part.reason.startswith("cannot be read")]
    assert all(rejection.reason for rejection in decoded.rejections)
    decoded.events.validate(full=True)
    return not decoded.rejections


EVENT = {
    "channel": "email", "kind": "sent", "tenant_id": "acme", "message_id": "m-1",
    "recipient": "ann@example.com", "occurred_at": "2025-05-06T07:10:11.345Z", "subject": "Summer",
    "record_type": "family", "record_id": "F-1", "campaign": "spring", "tags": ["a", "b"],
    "attempt": 1, "provider_message_id": "p-1",
}  # fmt: skip
BOUNCE = {
    **EVENT, "kind": "bounce", "smtp_code": 550, "enhanced_status": "5.1.1",
    "diagnostic": "550 5.1.1 no such user", "bounce_class": "hard", "provider": "ses",
}  # fmt: skip
SMS = {**EVENT, "channel": "sms", "recipient": "+447700900123", "text": "Hi", "parts": 2}
LISTED = {
    "channel": "email", "kind": "suppressed", "tenant_id": "acme", "recipient": "ann@example.com",
    "occurred_at": "2025-05-06T07:10:11Z", "label": "sendlog", "change": "added",
    "rule": "hard_bounce", "since": "2025-05-06T07:10:11Z", "diagnostic": "550 5.1.1",
    "cause_event_id": "e1", "message_id": "",
}  # fmt: skip
COMMAND = {
    "id": "c-1", "command": "reset", "tenant_id": "acme", "channel": "email",
    "address": "ann@example.com", "actor": "Ann Clark", "reason": "asked for it",
    "confirmed_complaint": True, "message_id": "m-1", "attempt": 2,
}  # fmt: skip
BY_TOPIC = {
    **{topic: [SMS if channel == "sms" else EVENT] for topic, channel in MAILER_CHANNELS.items()},
    DECISIONS_TOPIC: [EVENT, BOUNCE, LISTED, SMS],
    COMMANDS_TOPIC: [COMMAND, {**COMMAND, "command": "resend"}, {**COMMAND, "command": "add"}],
}


def parsers_of_kafka() -> Iterator[Parser]:
    for provider in adapters():
        yield Parser("events", provider, examples_of(provider), partial(read_events, provider))
    for topic, values in BY_TOPIC.items():
        yield Parser("decoder", topic, jsons(*values), partial(decode_record, topic))


# ---------------------------------------------------------------------- what comes by HTTP


def verify(provider: str, example: Example) -> bool:
    secret = signing.SECRETS.get(provider, signing.SHARED)
    request = signatures.Request(
        method=example.headers.get(":method", "POST"), url=example.headers.get(":url", ""),
        headers=example.headers, body=example.payload,
    )  # fmt: skip
    signatures.certificate_needed(provider, request, secret)
    signatures.verify(provider, request, secret, datetime.fromtimestamp(NOW, UTC))
    signatures.signed_token(provider, request)
    return True


def signed_examples(provider: str) -> list[Example]:
    """Return webhooks as the provider signs them, with their address as a header."""
    url = f"https://hooks.example.com/hooks/acme/{provider}?tenant_id=a%20b&n=1"
    signed = []
    for payload, headers in examples_of(provider)[:8]:
        hook = signing.sign(provider, signing.Hook(url=url, headers=headers, body=payload), NOW)
        signed.append(Example(hook.body, {**hook.headers, ":url": hook.url, ":method": "POST"}))
    return signed


def check_form(example: Example) -> None:
    fields = multipart_fields(example.payload)
    json.dumps(fields, ensure_ascii=False).encode()


def multipart_examples() -> list[Example]:
    return [
        Example(example.payload, {})
        for provider in adapters()
        for example in examples_of(provider)
        if example.payload.lstrip().startswith(b"--")
    ]


def check_secret(provider: str, example: Example) -> None:
    signatures.check_secret(provider, example.payload.decode("utf-8", "replace"))


def parsers_of_http() -> Iterator[Parser]:
    for provider in adapters():
        check = refusal(partial(verify, provider), signatures.SignatureError)
        yield Parser("signatures", provider, signed_examples(provider), check)
        secret = signing.SECRETS.get(provider, signing.SHARED)
        check = refusal(partial(check_secret, provider), signatures.SignatureError)
        yield Parser("secrets", provider, texts(secret), check)
    check = refusal(check_form, UnreadableError)
    yield Parser("forms", "multipart", multipart_examples(), check)


# ---------------------------------------------------------------------- what comes by mail


RETURN_PATH = r"b-(?P<tenant>[^-]+)-(?P<message>.+)@mail\.example\.com"


def check_mail(example: Example) -> None:
    mail = read_mail(example.payload)
    for part in mail.parts:
        part.text().encode("utf-8", "surrogatepass")
    sent_to = {"smtp-rcpt-to": "b-acme-m-1@mail.example.com", **example.headers}
    # The gateway makes headers of a record of it.
    for value in query_headers(example.payload, sent_to, RETURN_PATH).values():
        value.encode()


def parsers_of_mail() -> Iterator[Parser]:
    examples = [Example(text, {}) for text in mails().values()] + examples_of("reports")
    yield Parser("mail", "reports", examples, refusal(check_mail, UnreadableError))
    for_reports = [Example(text, {}) for text in mails().values()]
    yield Parser("mail", "mailbox", for_reports, partial(read_events, "reports"))
