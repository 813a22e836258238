"""Bad and strange records that a worker must survive: most of them become dead letters."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from processor.demo.render import DemoRecord
from schemas.events import iso_milliseconds, milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

CONFIRMATION: Final = b"""{
  "Type": "SubscriptionConfirmation", "MessageId": "00000000-5a2c-572c-8df2-7ff2be2b3b1b",
  "Token": "EXAMPLE", "Message": "You have chosen to subscribe to the topic ses-events."
}"""
HOSTILE_TENANT: Final = "x'; DROP TABLE events; --"


class BrokenRecord(NamedTuple):
    """A record, what is wrong with it, and whether it must become a dead letter."""

    record: DemoRecord
    note: str
    dead_letter: bool


def broken_records(seed: int, start: datetime, *, tenant: str = "demo") -> list[BrokenRecord]:
    """Return a record for each kind of damage, one second apart, the first at `start`."""
    rng = Random(seed)  # noqa: S311 - reproducible, not secret
    at = milliseconds(start)
    occurred_at = iso_milliseconds(start)
    event: dict[str, object] = {
        "channel": "email", "kind": "sent", "tenant_id": tenant,
        "message_id": f"broken-{rng.getrandbits(64):016x}",
        "recipient": f"broken.{rng.getrandbits(32):08x}@example.com", "occurred_at": occurred_at,
        "subject": "Broken", "attempt": 1,
    }  # fmt: skip
    cases = [*_event_cases(event), *_push_cases(event, occurred_at)]
    return [
        BrokenRecord(DemoRecord(topic, None, value, (), at + 1000 * number), note, dead_letter)
        for number, (topic, note, dead_letter, value) in enumerate(cases)
    ]


#: Topic, note, whether it becomes a dead letter, and value.
BrokenCase: TypeAlias = tuple[str, str, bool, bytes]


def _event_cases(event: Mapping[str, object]) -> list[BrokenCase]:
    """Return the cases on the mailers' topic."""

    def changed(**changes: object) -> bytes:
        return json.dumps({**event, **changes}).encode()

    without_id = {name: value for name, value in event.items() if name != "message_id"}
    return [
        ("email.sends", note, dead_letter, value)
        for note, dead_letter, value in (
            ("cut off, not JSON", True, changed()[:-20]),
            ("empty body", True, b""),
            ("JSON, but not an object", True, b'["email", "sent"]'),
            ("not UTF-8", True, changed().replace(b"Broken", b"Br\xff\xfeken")),
            ("wrong types", True, changed(recipient=42, attempt="many")),
            ("no message_id", True, json.dumps(without_id).encode()),
            ("unknown kind", True, changed(kind="teleported")),
            ("unknown channel", True, changed(channel="pigeon")),
            ("time in 1970: seconds taken for milliseconds", True,
             changed(occurred_at="1970-01-21T09:30:00.000Z")),
            ("time in 2999", True, changed(occurred_at="2999-01-01T00:00:00.000Z")),
            ("time without a zone", True, changed(occurred_at="2026-01-05T09:30:00.000")),
            ("SQL in the tenant's name: harmless, and stored", False,
             changed(tenant_id=HOSTILE_TENANT)),
            ("unknown field: ignored, and stored", False,
             changed(tenant_id=HOSTILE_TENANT, message_id="with-unknown-field", teleport=True)),
        )
    ]  # fmt: skip


def _push_cases(event: Mapping[str, object], at: str) -> list[BrokenCase]:
    """Return the cases on the providers' topics."""

    def ses(event_type: str, time: str) -> bytes:
        mail = {
            "timestamp": at, "messageId": "0100-broken-000000", "destination": [event["recipient"]],
            "tags": {"tenant_id": [event["tenant_id"]], "message_id": [event["message_id"]]},
        }  # fmt: skip
        detail = {"timestamp": time, "recipients": [event["recipient"]]}
        member = event_type.lower()
        return json.dumps({"eventType": event_type, "mail": mail, member: detail}).encode()

    return [
        ("email.events.ses", "not JSON", True, b"<html>502 Bad Gateway</html>"),
        ("email.events.ses", "empty body", True, b""),
        ("email.events.ses", "not UTF-8", True, ses("Delivery", at)[:-1] + b"\xc3"),
        ("email.events.ses", "delivered in 1970", True, ses("Delivery", "1970-01-21T09:30:00Z")),
        ("email.events.ses", "unknown eventType", True, ses("Teleport", at)),
        ("email.events.ses", "confirmation of a subscription: nothing to log", False,
         CONFIRMATION),
        ("sms.events.twilio", "empty batch: nothing to log", False, b"[]"),
        ("sms.events.twilio", "empty body", True, b""),
        ("sms.events.twilio", "unknown status", True,
         b"MessageStatus=teleported&To=%2B12015550100&MessageSid=SM00"),
    ]  # fmt: skip
