"""Which statuses a partial state shows: all others are not looked for in it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from projections.status import fold_message
from projections.tables import projections
from projections.witness import witness

AT = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("channel", "kinds", "statuses"),
    [
        ("email", "sent", "Sent"),
        ("email", "delivery", "Delivery"),
        ("email", "complaint", "Delivery"),
        ("email", "open", "Open"),
        ("email", "sent delivery open", "Open"),
        ("email", "click", "Click"),
        ("email", "delivery open click", "Click"),
        ("email", "failure", "Bounce"),
        ("email", "invalid", "Invalid"),
        ("email", "delivery invalid", "Delivery"),
        ("email", "skipped", "Skipped"),
        ("sms", "queued", "Queued"),
        ("sms", "sent", "Sent"),
        ("sms", "read", "Received"),
        ("sms", "delivery read", "Received"),
        # A failure may be overruled: whether it is, presence does not say.
        ("sms", "rejected", "Queued Rejected"),
        ("sms", "opt_out", "Failed Queued"),
    ],
)
def test_a_state_shows_no_status_but_those_that_its_message_may_have_by_it(
    channel, kinds, statuses
):
    log = projections()[f"{channel}_log"]
    events = [
        {"kind": kind, "occurred_at": AT, "recorded_at": AT, "event_id": f"{number:032x}"}
        for number, kind in enumerate(kinds.split())
    ]
    state = fold_message(log, events)
    names = sorted({rule.status for rule in log.rules})
    assert [name for name in names if witness(log, name).evaluate(state)] == statuses.split()
