"""What log and rules go by of an event, in the one form in which both have it.

It is made after the fingerprint, which is over the content as it came: so copies of an event stay
one event, whenever they reach Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from processor.intake.arrow import TIME_TYPE, EventGroup
from schemas.events import MAX_CLOCK_SKEW, MAX_EVENT_AGE, bounded_time

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
