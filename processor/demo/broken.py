"""Records that no worker should choke on: most become dead letters, some are merely strange."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.demo.render import Record, iso
from schemas.events import milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

CONFIRMATION: Final = b"""{
  "Type": "SubscriptionConfirmation", "MessageId": "00000000-5a2c-572c-8df2-7ff2be2b3b1b",
  "Token": "EXAMPLE", "Message": "You have chosen to subscribe to the topic ses-events."
}"""
HOSTILE_TENANT: Final = "x'; DROP TABLE events; --"


class Broken(NamedTuple):
    """A record, what is strange about it, and whether it must become a dead letter."""

    record: Record
    note: str
    dead_letter: bool


def broken(seed: int, start: datetime, *, tenant: str = "demo") -> list[Broken]:
    """Return one record for each way to be broken or strange, one second apart from `start`."""
    rng = Random(seed)  # noqa: S311 - reproducible, not secret
    at = milliseconds(start)
    fact: dict[str, object] = {
        "channel": "email", "kind": "sent", "tenant_id": tenant,
        "message_id": f"broken-{rng.getrandbits(64):016x}",
        "recipient": f"broken.{rng.getrandbits(32):08x}@example.com", "occurred_at": iso(at),
        "subject": "Broken", "attempt": 1,
    }  # fmt: skip
    cases = [*_facts(fact), *_pushes(fact, iso(at))]
    return [
        Broken(Record(topic, None, value, (), at + 1000 * number), note, dead_letter)
        for number, (topic, note, dead_letter, value) in enumerate(cases)
    ]


Case = tuple[str, str, bool, bytes]


def _facts(fact: Mapping[str, object]) -> list[Case]:
    """Return the cases of mailers' facts."""

    def but(**changes: object) -> bytes:
        return json.dumps({**fact, **changes}).encode()

    without_id = {name: value for name, value in fact.items() if name != "message_id"}
    return [
        ("email.sends", note, dead_letter, value)
        for note, dead_letter, value in (
            ("cut off, not JSON", True, but()[:-20]),
            ("empty body", True, b""),
            ("JSON, but not an object", True, b'["email", "sent"]'),
            ("not UTF-8", True, but().replace(b"Broken", b"Br\xff\xfeken")),
            ("wrong types", True, but(recipient=42, attempt="many")),
            ("no message_id", True, json.dumps(without_id).encode()),
            ("unknown kind", True, but(kind="teleported")),
            ("unknown channel", True, but(channel="pigeon")),
            ("time in 1970: seconds taken for milliseconds", True,
             but(occurred_at="1970-01-21T09:30:00.000Z")),
            ("time in 2999", True, but(occurred_at="2999-01-01T00:00:00.000Z")),
            ("time without a zone", True, but(occurred_at="2026-01-05T09:30:00.000")),
            ("SQL in the tenant's name: harmless, and stored", False,
             but(tenant_id=HOSTILE_TENANT)),
            ("unknown field: ignored, and stored", False,
             but(tenant_id=HOSTILE_TENANT, message_id="with-unknown-field", teleport=True)),
        )
    ]  # fmt: skip


def _pushes(fact: Mapping[str, object], at: str) -> list[Case]:
    """Return the cases of providers' pushes."""

    def ses(event_type: str, time: str) -> bytes:
        mail = {
            "timestamp": at, "messageId": "0100-broken-000000", "destination": [fact["recipient"]],
            "tags": {"tenant_id": [fact["tenant_id"]], "message_id": [fact["message_id"]]},
        }  # fmt: skip
        told = {"timestamp": time, "recipients": [fact["recipient"]]}
        member = event_type.lower()
        return json.dumps({"eventType": event_type, "mail": mail, member: told}).encode()

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
