"""What must hold for whatever comes of a provider's payload."""

from __future__ import annotations

import re
from datetime import timedelta

from schemas.events import KINDS_BY_CHANNEL, MAX_EVENT_TIME, MIN_EVENT_TIME, MessageEvent
from schemas.providers import Decoded

FINGERPRINT = re.compile(r"[0-9a-f]{32}")


def sound(decoded: Decoded, channel: str) -> None:
    """Assert that every event is a fact that can be stored, and that every rejection says why."""
    for fields in decoded.events:
        event = MessageEvent.model_validate(fields)
        assert event.kind in KINDS_BY_CHANNEL[channel]
        assert MIN_EVENT_TIME <= event.occurred_at < MAX_EVENT_TIME
        assert event.occurred_at.utcoffset() == timedelta(0)
        assert event.occurred_at.microsecond % 1000 == 0
        assert fields["recipient"] == event.recipient == event.recipient.strip().lower()
        assert event.tenant_id
        assert FINGERPRINT.fullmatch(event.event_id)
        assert (event.bounce_class is not None) == (event.kind == "bounce")
    for part in decoded.rejected:
        assert part.reason
        assert isinstance(part.raw, bytes)
