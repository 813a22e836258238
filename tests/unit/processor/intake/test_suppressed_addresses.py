"""The set of suppressed addresses follows the history, and missed sends are looked up once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from processor.intake.suppressed_addresses import SuppressedAddresses, SuppressionFollower
from projections.clickhouse.client import TransientError
from projections.queries.suppressed_sends import SuppressionRow
from schemas.addresses import Address

JO, ANN = (Address("acme", "email", f"{name}@example.com") for name in ("jo", "ann"))


class FakeHistory:
    """A suppression history that fails so many times, and keeps what it was asked."""

    def __init__(self, *rows):
        self.rows, self.failures = list(rows), 0
        self.since, self.lookups = [], []

    def suppressions(self, since):
        self.since.append(since)
        if self.failures:
            self.failures -= 1
            raise TransientError("away")
        return [row for row in self.rows if since is None or row.recorded_at >= since]

    def sends(self, rows):
        self.lookups += [row.event_id for row in rows]
        return [{"recipient": row.address.address} for row in rows]


class FollowedHistory:
    """A follower of a fake history, and what it fed the policy."""

    def __init__(self, *rows):
        self.history, self.fed_sends = FakeHistory(*rows), []
        self.watermark = datetime.max.replace(tzinfo=UTC)
        self.owned = {JO, ANN}
        self.suppressed = SuppressedAddresses()
        self.follower = SuppressionFollower(
            suppressed=self.suppressed, history=self.history, feed=self.feed,
            owns=self.owned.__contains__, watermark=self.fetch_watermark,
        )  # fmt: skip

    async def feed(self, sends):
        self.fed_sends += sends

    async def fetch_watermark(self):
        return self.watermark

    def poll(self, rounds=3):
        async def poll_all():
            for _ in range(rounds):
                await self.follower.poll()

        asyncio.run(poll_all())


def row(event_id, address, ago):
    at = datetime.now(UTC) - ago
    return SuppressionRow(address, event_id, at, at)


def test_all_that_was_ever_suppressed_is_known_and_recent_rows_are_looked_up_once():
    followed = FollowedHistory(
        row("old", JO, timedelta(days=90)), row("new", ANN, timedelta(minutes=1))
    )
    followed.poll()
    assert JO in followed.suppressed
    assert ANN in followed.suppressed
    assert Address("acme", "email", "kim@example.com") not in followed.suppressed
    assert followed.history.lookups == ["new"]
    assert followed.fed_sends == [{"recipient": "ann@example.com"}]


def test_sends_are_looked_up_only_when_all_is_in_the_log_and_by_the_worker_that_decides():
    followed = FollowedHistory(row("new", ANN, timedelta(minutes=1)))
    followed.watermark = datetime.now(UTC) - timedelta(minutes=2)
    followed.poll()
    assert followed.history.lookups == []
    followed.watermark = datetime.now(UTC)
    followed.owned.clear()
    followed.poll()
    assert followed.history.lookups == []
    followed.owned.add(ANN)
    followed.poll()
    assert followed.history.lookups == ["new"]


def test_a_database_that_is_away_is_waited_for():
    followed = FollowedHistory(row("new", ANN, timedelta(minutes=1)))
    followed.history.failures = 2
    followed.poll()
    assert followed.history.lookups == ["new"]


def test_what_was_inserted_late_is_read_once_a_minute(monkeypatch):
    followed = FollowedHistory()
    followed.poll()
    now = datetime.now(UTC)
    whole, *recent = followed.history.since
    assert whole is None
    assert all(since > now - timedelta(minutes=1) for since in recent)
    monkeypatch.setattr("processor.intake.suppressed_addresses.LATE_POLL_INTERVAL", timedelta(0))
    followed.history.rows = [row("late", ANN, timedelta(minutes=5))]
    followed.poll()
    assert followed.history.lookups == ["late"]
    assert all(since < now - timedelta(minutes=9) for since in followed.history.since[3:])
