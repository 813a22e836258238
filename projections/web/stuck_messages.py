"""Stuck messages: sent, and without any event for some time."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from projections.queries.listing import Filter
from projections.web.auth import Caller
from projections.web.log_query import LogQuery
from schemas.events import Channel, iso_milliseconds

#: The status of a message that is under way, in both logs.
STUCK_STATUS: Final = "Sent"


def silence_filter(silent_since: datetime) -> Filter:
    """Return the filter for messages without an event after a time."""
    return Filter("last_event_at", "<=", iso_milliseconds(silent_since))


def stuck_query(caller: Caller, channel: Channel, silent_since: datetime) -> LogQuery:
    """Return the query for messages that are stuck since a time."""
    filters = (Filter("status", "=", STUCK_STATUS), silence_filter(silent_since))
    return LogQuery(caller=caller, channel=channel, filters=filters)
