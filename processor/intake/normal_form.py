"""What log and rules go by of an event, in the one form in which both have it.

It is made after the fingerprint, which is over the content as it came: so copies of an event stay
one event, whenever they reach Kafka.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from processor.intake.arrow import TIME_TYPE, EventGroup
from schemas.addresses import NumberRegions, normal_form, plain_pattern
from schemas.events import MAX_CLOCK_SKEW, MAX_EVENT_AGE, Channel, bounded_time

_MILLISECOND: Final = timedelta(milliseconds=1)
_MIN_AGE_MS: Final = -(MAX_CLOCK_SKEW // _MILLISECOND)
_MAX_AGE_MS: Final = MAX_EVENT_AGE // _MILLISECOND


def bound_times(groups: Sequence[EventGroup]) -> None:
    """Date each event that cannot be as old, or as new, as it says by its record."""
    for group in groups:
        if group.columns is not None and _are_plausible(group.columns):
            continue
        for event in group.events:
            event["occurred_at"] = bounded_time(event["occurred_at"], event["recorded_ms"])
        if group.columns is not None:
            times = [event["occurred_at"] for event in group.events]
            group.columns["occurred_at"] = pa.array(times, TIME_TYPE)


def _are_plausible(columns: Mapping[str, Any]) -> bool:
    """Tell whether all times are, at once: nearly always they are."""
    recorded, occurred = (columns[name].cast(pa.int64()) for name in ("recorded_ms", "occurred_at"))
    ages = pc.min_max(pc.subtract(recorded, occurred)).as_py()
    return bool(ages["min"] >= _MIN_AGE_MS and ages["max"] <= _MAX_AGE_MS)


def normalise_recipients(groups: Sequence[EventGroup], regions: NumberRegions) -> None:
    """Bring recipients to their normal form; what is no address stays, with `recipient_error`."""
    for group in groups:
        odd = _odd_recipients(group)
        for place in odd:
            event = group.events[place]
            region = regions.of(event["tenant_id"])
            form = normal_form(event["channel"], event["recipient"], region)
            event["recipient"], error = form
            if error:
                event["recipient_error"] = error
        if group.columns is not None and odd:
            group.columns["recipient"] = [event["recipient"] for event in group.events]
            errors = [event.get("recipient_error", "") for event in group.events]
            group.columns["recipient_error"] = errors


def _odd_recipients(group: EventGroup) -> Sequence[int]:
    """Return the places of events whose recipient may not be in its normal form."""
    if group.columns is None or len(channels := set(group.columns["channel"])) > 1:
        return range(len(group.events))
    is_plain = _plain_form(channels.pop()).match
    return [
        place
        for place, recipient in enumerate(group.columns["recipient"])
        if not is_plain(recipient)
    ]


@cache
def _plain_form(channel: Channel) -> re.Pattern[str]:
    """Return the pattern, compiled once: Arrow would compile it anew for each group of a chunk."""
    return re.compile(plain_pattern(channel))
