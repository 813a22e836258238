"""The explanation of one message: its row, its events, and why it has its status."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from projections.queries.timeline import explain_events, timeline
from projections.tables import log_of
from projections.web.auth import Caller
from projections.web.problems import ProblemError
from schemas.events import Channel


def explained_message(
    caller: Caller, channel: Channel, message_id: str, recipient: str
) -> dict[str, Any]:
    """Return what `timeline.explain_events` does. Raises a 404 problem without such a message."""
    database = caller.state.database
    with database.client() as client:
        events = timeline(
            client, database.name, message_id=message_id,
            recipient=caller.address_of(channel, recipient).address, tenant=caller.tenant,
        )  # fmt: skip
    events = [event for event in events if event["channel"] == channel]
    if not any(event["kind"] in log_of(channel).kinds for event in events):
        raise ProblemError(HTTPStatus.NOT_FOUND, "no such message to that recipient")
    return explain_events(events)
