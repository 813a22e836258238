"""Stories as Kafka records: events of mailers, and pushes of providers or the same as events.

Benchmarks load millions of records through this, so JSON is put together from pieces: the part that
a message repeats is made once for it, the part that a step repeats once for all.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from json.encoder import encode_basestring as quote
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.demo.payloads import ProviderEvent, PushHeaders, render_push
from schemas.events import EPOCH, iso_milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from processor.demo.business import OutgoingMessage
    from processor.demo.scenarios import StoryStep
    from schemas.events import Channel

#: By channel: the topic of events, the topic of pushes, and the provider.
EVENT_TOPICS: Final[Mapping[Channel, str]] = {"email": "email.sends", "sms": "sms.sends"}
PUSH_TOPICS: Final[Mapping[Channel, str]] = {
    "email": "email.events.ses",
    "sms": "sms.events.twilio",
}
PROVIDER_NAMES: Final[Mapping[Channel, str]] = {"email": "ses", "sms": "twilio"}
BODY_FIELDS: Final[Mapping[Channel, str]] = {"email": "subject", "sms": "text"}
FEED_TOPICS: Final = (*EVENT_TOPICS.values(), *PUSH_TOPICS.values())


class DemoRecord(NamedTuple):
    """A Kafka record; its timestamp is the time of the event, in milliseconds since 1970."""

    topic: str
    key: bytes | None
    value: bytes
    headers: PushHeaders
    timestamp_ms: int


@cache
def _tails(step: StoryStep) -> tuple[str, ...]:
    """Return the end of a step's event, after its time, for each of the alternatives."""
    common = {"kind": step.kind, "attempt": step.attempt}
    return tuple(
        "," + json.dumps({**common, **detail}, separators=(",", ":"))[1:]
        for detail in step.alternatives
    )


def render_records(
    message: OutgoingMessage,
    timed_steps: Sequence[tuple[StoryStep, int]],
    rng: Random,
    *,
    raw: bool,
) -> list[DemoRecord]:
    """Return the records of a story: pairs of a step and its time in milliseconds since 1970.

    With `raw`, an event of a provider has the provider's own format if that can express it.
    """
    channel, key, head = message.channel, message.recipient.encode(), _head(message)
    own = (
        f'"{BODY_FIELDS[channel]}":{quote(message.body)},"campaign":"{message.campaign}",'
        f'"record_name":{quote(message.party.name)},'
    )
    topic, reference = EVENT_TOPICS[channel], f"{rng.getrandbits(120):030x}"
    records = []
    sent_at = ""
    for step, at in timed_steps:
        occurred_at = iso_milliseconds(EPOCH + timedelta(milliseconds=at))
        sent_at = sent_at or occurred_at
        choice = int(rng.random() * len(step.alternatives)) if len(step.alternatives) > 1 else 0
        if step.by == "provider":
            provider_id = _provider_message_id(channel, reference, step.attempt)
            push = raw and render_push(
                ProviderEvent(message, step.kind, step.attempt, step.alternatives[choice],
                              occurred_at, sent_at, provider_id), rng,
            )  # fmt: skip
            if push:
                records.append(DemoRecord(PUSH_TOPICS[channel], key, *push, at))
                continue
            fields = (
                f'"provider":"{PROVIDER_NAMES[channel]}","provider_message_id":"{provider_id}",'
            )
        else:
            fields = own if step.by == "mailer" else ""
            sent_at = occurred_at
        value = f'{head}{fields}"occurred_at":"{occurred_at}"{_tails(step)[choice]}'
        records.append(DemoRecord(topic, key, value.encode(), (), at))
    return records


def _head(message: OutgoingMessage) -> str:
    """Return the beginning of a message's events, which all of them share."""
    party = message.party
    return (
        f'{{"channel":"{message.channel}","tenant_id":{quote(message.tenant_id)},'
        f'"message_id":"{message.message_id}","recipient":"{message.recipient}",'
        f'"record_type":"{party.record_type}","record_id":"{party.record_id}",'
    )


def _provider_message_id(channel: Channel, digits: str, attempt: int) -> str:
    """Return the provider's id of an attempt, which is a message of its own for the provider."""
    return f"SM{digits}{attempt:02x}" if channel == "sms" else f"0100{digits}{attempt:02x}-000000"
