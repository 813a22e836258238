"""Stories as Kafka records: mailers' facts, and what providers push or the same as facts.

This is the hot path of every benchmark that loads millions of records, so JSON is put together
from pieces: what is the same for a message is written once for it, what is the same for a step
once for all.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from json.encoder import encode_basestring as quote
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.demo.payloads import Happening, Headers, pushed
from schemas.events import EPOCH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from processor.demo.business import Letter
    from processor.demo.scenarios import Step
    from schemas.events import Channel

#: Where a channel's facts go, where its provider's pushes go, and the provider.
FACTS: Final[Mapping[Channel, str]] = {"email": "email.sends", "sms": "sms.sends"}
PUSHES: Final[Mapping[Channel, str]] = {"email": "email.events.ses", "sms": "sms.events.twilio"}
PROVIDERS: Final[Mapping[Channel, str]] = {"email": "ses", "sms": "twilio"}
BODY: Final[Mapping[Channel, str]] = {"email": "subject", "sms": "text"}
TOPICS: Final = (*FACTS.values(), *PUSHES.values())

DAY_MS: Final = 86_400_000


class Record(NamedTuple):
    """One Kafka record; the timestamp is the event's own time, in milliseconds since 1970."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int


@cache
def _day(day: int) -> str:
    return (EPOCH + timedelta(days=day)).date().isoformat()


def iso(ms: int) -> str:
    """Return a time in milliseconds since 1970 as ISO 8601, UTC, as 2026-01-31T09:30:00.250Z."""
    day, ms = divmod(ms, DAY_MS)
    seconds, ms = divmod(ms, 1000)
    minutes, second = divmod(seconds, 60)
    return f"{_day(day)}T{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{ms:03d}Z"


@cache
def _tails(step: Step) -> tuple[str, ...]:
    """Return the end of a step's fact after its time, for each of its alternatives."""
    common = {"kind": step.kind, "attempt": step.attempt}
    return tuple(
        "," + json.dumps({**common, **detail}, separators=(",", ":"))[1:] for detail in step.details
    )


def render(
    letter: Letter, story: Sequence[tuple[Step, int]], rng: Random, *, raw: bool
) -> list[Record]:
    """Return the records of a story: pairs of a step and its time in milliseconds since 1970.

    `raw`: providers' events in their own formats where these can express them, else as facts.
    """
    channel, party = letter.channel, letter.party
    key = letter.recipient.encode()
    head = (
        f'{{"channel":"{channel}","tenant_id":{quote(letter.tenant_id)},'
        f'"message_id":"{letter.message_id}","recipient":"{letter.recipient}",'
        f'"record_type":"{party.record_type}","record_id":"{party.record_id}",'
    )
    own = f'"{BODY[channel]}":{quote(letter.body)},"campaign":"{letter.campaign}",'
    topic, reference = FACTS[channel], f"{rng.getrandbits(120):030x}"
    records = []
    sent_at = story[0][1]
    for step, at in story:
        choice = int(rng.random() * len(step.details)) if len(step.details) > 1 else 0
        if step.by == "provider":
            reference_of_attempt = _reference(channel, reference, step.attempt)
            push = raw and pushed(
                Happening(letter, step.kind, step.attempt, step.details[choice], iso(at),
                          iso(sent_at), reference_of_attempt), rng,
            )  # fmt: skip
            if push:
                records.append(Record(PUSHES[channel], key, *push, at))
                continue
            said = (
                f'"provider":"{PROVIDERS[channel]}","provider_message_id":"{reference_of_attempt}",'
            )
        else:
            said = own if step.by == "mailer" else ""
            sent_at = at
        value = f'{head}{said}"occurred_at":"{iso(at)}"{_tails(step)[choice]}'
        records.append(Record(topic, key, value.encode(), (), at))
    return records


def _reference(channel: Channel, digits: str, attempt: int) -> str:
    """Return the provider's id of an attempt: each is a message of its own to the provider."""
    return f"SM{digits}{attempt:02x}" if channel == "sms" else f"0100{digits}{attempt:02x}-000000"
