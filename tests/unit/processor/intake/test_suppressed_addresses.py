"""The set of suppressed addresses follows the topic, and missed sends are looked up once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from processor.intake.suppressed_addresses import SuppressedAddresses, SuppressionFollower
from projections.clickhouse.client import TransientError
from schemas.addresses import Address
from schemas.decisions import Reason, Suppression
from schemas.events import milliseconds

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
JO, ANN = (Address("acme", "email", f"{name}@example.com") for name in ("jo", "ann"))
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


class Followed:
    """A follower of records by hand, a log to look up sends in, and what was fed to the policy."""

    def __init__(self):
        self.now = self.watermark = NOW
        self.owned, self.failures = {JO, ANN}, 0
        self.lookups, self.fed_sends = [], []
        self.suppressed = SuppressedAddresses()
        self.follower = SuppressionFollower(
            suppressed=self.suppressed, fetch_sends=self.fetch_sends, feed=self.feed,
            owns=self.owned.__contains__, watermark=self.fetch_watermark, clock=lambda: self.now,
        )  # fmt: skip

    def fetch_sends(self, since):
        if self.failures:
            self.failures -= 1
            raise TransientError("away")
        self.lookups.append(since)
        return [{"recipient": address.address} for address in since]

    async def feed(self, sends):
        self.fed_sends += sends

    async def fetch_watermark(self):
        return self.watermark

    def start(self, *records):
        """Take what the topic has at the start, and then be current."""
        self.follower.take(records)
        self.suppressed.is_current.set()

    def pass_time(self, time):
        self.now += time
        self.watermark = self.now

    def look_up(self):
        asyncio.run(self.follower.look_up_sends())


def record(address, ago, *, suppressed=True, since=None, also=None):
    """Return a record of an entry, or a tombstone, published so long ago."""
    at = NOW - ago
    reasons = [Reason(rule="hard_bounce", since=also)] if also else []
    entry = Suppression(
        rule="complaint", since=since or at, tenant_id=address.tenant_id, channel=address.channel,
        address=address.address, effect="invalid", also=tuple(reasons),
    )  # fmt: skip
    return SimpleNamespace(
        key=address.key.encode(), timestamp=milliseconds(at),
        value=entry.model_dump_json().encode() if suppressed else None,
    )  # fmt: skip


def test_all_that_is_suppressed_is_known_and_sends_since_recent_entries_are_looked_up_once():
    followed = Followed()
    followed.start(record(JO, 90 * DAY), record(ANN, MINUTE))
    assert JO in followed.suppressed
    assert ANN in followed.suppressed
    assert Address("acme", "email", "kim@example.com") not in followed.suppressed
    followed.pass_time(MINUTE)
    followed.look_up()
    followed.look_up()
    assert followed.lookups == [{ANN: NOW - MINUTE}]
    assert followed.fed_sends == [{"recipient": "ann@example.com"}]


@pytest.mark.parametrize("late", [MINUTE, 30 * MINUTE, 3 * DAY])
def test_an_entry_that_is_heard_of_late_is_known_and_its_sends_are_looked_up(late):
    followed = Followed()
    followed.start()
    followed.pass_time(late)
    followed.follower.take([record(JO, timedelta(0))])
    assert JO in followed.suppressed
    followed.look_up()
    assert followed.lookups == []  # another worker may hear of it a little later
    followed.pass_time(MINUTE)
    followed.look_up()
    assert followed.lookups == [{JO: NOW}]


def test_sends_are_looked_up_since_the_earliest_reason():
    followed = Followed()
    followed.start()
    followed.follower.take([record(JO, MINUTE, also=NOW - 2 * DAY)])
    followed.pass_time(MINUTE)
    followed.look_up()
    assert followed.lookups == [{JO: NOW - 2 * DAY}]


def test_an_address_that_was_reset_is_known_as_long_as_the_topic_has_its_tombstone():
    followed = Followed()
    followed.start(record(JO, MINUTE, suppressed=False))
    followed.pass_time(MINUTE)
    followed.look_up()
    assert JO in followed.suppressed
    assert followed.lookups == []


def test_sends_are_looked_up_only_when_all_is_in_the_log_and_by_the_worker_that_decides():
    followed = Followed()
    followed.start(record(ANN, MINUTE))
    followed.look_up()
    assert followed.lookups == []
    followed.owned.clear()
    followed.pass_time(MINUTE)
    followed.look_up()
    assert followed.lookups == []
    followed.owned.add(ANN)
    followed.look_up()
    assert followed.lookups == [{ANN: NOW - MINUTE}]


def test_news_of_an_address_while_it_is_looked_up_is_looked_up_again():
    followed = Followed()
    followed.start(record(JO, MINUTE))
    followed.pass_time(MINUTE)
    fetch_sends = followed.follower._fetch_sends

    def hear_and_fetch(since):
        followed.follower._fetch_sends = fetch_sends
        followed.follower.take([record(JO, timedelta(0), since=NOW - DAY)])
        return fetch_sends(since)

    followed.follower._fetch_sends = hear_and_fetch
    followed.look_up()
    followed.pass_time(MINUTE)
    followed.look_up()
    assert followed.lookups == [{JO: NOW - MINUTE}, {JO: NOW - DAY}]


def test_a_database_that_is_away_is_waited_for():
    followed = Followed()
    followed.start(record(ANN, MINUTE))
    followed.pass_time(MINUTE)
    followed.failures = 1
    with pytest.raises(TransientError):
        followed.look_up()
    followed.look_up()
    assert followed.lookups == [{ANN: NOW - MINUTE}]


def test_sends_that_could_not_be_fed_are_looked_up_again():
    followed = Followed()
    followed.start(record(ANN, MINUTE))
    followed.pass_time(MINUTE)
    feed = followed.follower._feed

    async def fail(sends):
        followed.follower._feed = feed
        raise ConnectionError("the broker is away")

    followed.follower._feed = fail
    with pytest.raises(ConnectionError):
        followed.look_up()
    followed.look_up()
    assert followed.fed_sends == [{"recipient": "ann@example.com"}]


def test_what_another_worker_should_have_looked_up_is_forgotten_after_a_day():
    followed = Followed()
    followed.start(record(ANN, MINUTE))
    followed.owned.clear()
    followed.pass_time(DAY + MINUTE)
    followed.look_up()
    assert not followed.follower._pending


def test_a_record_that_is_no_entry_spares_its_neighbours():
    followed = Followed()
    odd = SimpleNamespace(key=b"odd", value=b"{}", timestamp=milliseconds(NOW))
    empty = record(ANN, MINUTE)
    empty.value = b"{}"
    followed.start(odd, empty, record(JO, MINUTE))
    followed.pass_time(MINUTE)
    followed.look_up()
    assert ANN in followed.suppressed
    assert followed.lookups == [{JO: NOW - MINUTE}]
