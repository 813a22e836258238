"""A hundred thousand spoiled payloads: whatever a provider may push gives facts or rejections.

`tests/fuzz` spoils them, from a seed that is fixed: a payload that fails fails again.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from types import SimpleNamespace

import pytest

from processor.intake.decoder import Decoder
from processor.kafka.topics import feed_topic
from processor.settings import IntakeSettings
from schemas.events import milliseconds
from schemas.providers import UnreadableError, adapters, decode, normalise
from tests.chunks import chunk_of
from tests.fuzz.mutations import spoiled
from tests.fuzz.soundness import sound

RECORDED_AT = datetime(2025, 6, 1, 12, 0, 0, 5_000, tzinfo=UTC)
CAME = milliseconds(RECORDED_AT)
MANY = 100_000
CHUNK = 500


@pytest.mark.parametrize("provider", adapters())
def test_a_spoiled_payload_gives_sound_facts_or_rejections_and_always_the_same(provider) -> None:
    adapter = adapters()[provider]
    payloads = with_events = 0
    for payload, headers in spoiled(provider, -(-MANY // len(adapters()))):
        decoded = decode(adapter, payload, headers, CAME, "default")
        again = decode(adapter, payload, headers, CAME, "default")
        assert decoded == again, payload
        sound(decoded, adapter.CHANNEL)
        payloads += 1
        with_events += bool(decoded.events)
    # Neither is everything refused, nor does everything pass: the mutations reach the adapters.
    assert 0.05 < with_events / payloads < 0.95


@pytest.mark.parametrize("provider", adapters())
def test_a_spoiled_payload_is_read_in_full_or_refused_with_a_reason(provider) -> None:
    adapter, outcomes, reasons = adapters()[provider], Counter(), set()
    for payload, headers in spoiled(provider, 500):
        decoded = decode(adapter, payload, headers, CAME, "default")
        try:
            events = normalise(provider, payload, headers, RECORDED_AT)
        except UnreadableError as error:
            assert decoded.rejected
            reasons.add(str(error))
            outcomes["refused"] += 1
        else:
            assert not decoded.rejected
            assert len(events) == len(decoded.events)
            outcomes["read"] += bool(events)
    assert min(outcomes["refused"], outcomes["read"]) > 10, outcomes
    assert all(reasons)


@pytest.mark.parametrize("provider", adapters())
def test_what_is_a_fact_can_be_stored(provider) -> None:
    decoder = Decoder(IntakeSettings(), max_record_bytes=8_388_608)
    topic = feed_topic(adapters()[provider].CHANNEL, provider)
    payloads, stored = spoiled(provider, 2_000), 0
    while chunk := [
        SimpleNamespace(
            topic=topic, partition=0, offset=number, value=payload, timestamp=1_748_779_200_005,
            headers=[(name, text.encode()) for name, text in headers.items()],
        )
        for number, (payload, headers) in enumerate(islice(payloads, CHUNK))
    ]:  # fmt: skip
        batch = decoder(chunk_of(chunk))
        assert not [
            rejection
            for rejection in batch.rejections
            if rejection.reason.startswith("cannot be read")
        ]
        batch.events.validate(full=True)
        stored += batch.events.num_rows
    assert stored > 100
