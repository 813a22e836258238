"""Records of providers that echo nothing, and of mailers that say which ids these gave.

Of opens and clicks some do not name the recipient either, as there is only one.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode
from zlib import crc32

from processor.demo.render import EVENT_TOPICS, DemoRecord
from processor.kafka.topics import feed_provider
from schemas.events import iso_milliseconds, milliseconds
from schemas.providers import normalise

#: What is still echoed: tenants are told apart by it.
ECHOED = "tenant_id"
EARLIER = timedelta(milliseconds=1)
#: Events that may leave the recipient out, by SES's names.
NAMELESS_TYPES = {"Open", "Click"}
#: Of so many messages all but one have such events without it.
NAMELESS_SHARE = 3


class Attempt(NamedTuple):
    """What a provider's id stands for."""

    tenant_id: str
    channel: str
    message_id: str
    recipient: str
    attempt: int
    provider: str
    provider_message_id: str


def provider_events(record):
    """Return the events of a provider's record; none of a mailer's."""
    if not (feed := feed_provider(record.topic)):
        return []
    recorded_at = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    headers = {name: value.decode() for name, value in record.headers}
    return normalise(feed[1], record.value, headers, recorded_at)


def attempts_of(records):
    """Return the attempts that providers speak of, with the time of the first event of each."""
    first_at = {}
    for event in (event for record in records for event in provider_events(record)):
        attempt = Attempt(*(getattr(event, name) for name in Attempt._fields))
        first_at[attempt] = min(first_at.get(attempt, event.occurred_at), event.occurred_at)
    return first_at


def notes_of(records):
    """Return notes by which mailers say what the ids of providers stand for, and nothing else."""
    return [_note(attempt, at - EARLIER) for attempt, at in attempts_of(records).items()]


def _note(attempt, at):
    value = {**attempt._asdict(), "kind": "note", "occurred_at": iso_milliseconds(at)}
    return DemoRecord(
        EVENT_TOPICS[attempt.channel], attempt.recipient.encode(), json.dumps(value).encode(), (),
        milliseconds(at),
    )  # fmt: skip


def silenced(record):
    """Return a record as it is if its provider echoes no id of the mailer."""
    feed = feed_provider(record.topic)
    if not feed:
        return record
    if feed[1] == "twilio":
        return record._replace(headers=tuple(
            (name, _silent_query(value) if name == "x-callback-query" else value)
            for name, value in record.headers
        ))  # fmt: skip
    return record._replace(value=json.dumps(_silent_push(json.loads(record.value))).encode())


def _silent_query(query):
    [tenant] = parse_qs(query.decode())[ECHOED]
    return urlencode({ECHOED: tenant}).encode()


def _silent_push(push):
    """Return an event of SES, or what wraps it: a notification of SNS, an event of EventBridge."""
    if "Message" in push:
        return push | {"Message": json.dumps(_silent_push(json.loads(push["Message"])))}
    if "detail" in push:
        return push | {"detail": _silent_push(push["detail"])}
    mail = push["mail"] | {"tags": {ECHOED: push["mail"]["tags"][ECHOED]}}
    if push["eventType"] in NAMELESS_TYPES and crc32(mail["messageId"].encode()) % NAMELESS_SHARE:
        del mail["destination"]
    return push | {"mail": mail}
