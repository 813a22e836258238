"""The set of listed addresses follows the history, and missed sends are looked up once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from processor.intake.suppressed_addresses import Follower, Listed
from projections.clickhouse.client import TransientError
from projections.queries.suppressed_sends import Line
from schemas.addresses import Address

JO, ANN = (Address("acme", "email", f"{name}@example.com") for name in ("jo", "ann"))


class World:
    def __init__(self, *lines):
        self.lines_, self.looked_up, self.fed, self.failures = list(lines), [], [], 0
        self.asked = []
        self.until = datetime.max.replace(tzinfo=UTC)
        self.ours = {JO, ANN}
        self.listed = Listed()
        self.follower = Follower(
            listed=self.listed, history=self, feed=self.feed,
            is_ours=self.ours.__contains__, known_until=self.known_until,
        )  # fmt: skip

    def lines(self, since):
        self.asked.append(since)
        if self.failures:
            self.failures -= 1
            raise TransientError("away")
        return [line for line in self.lines_ if since is None or line.recorded_at >= since]

    def sends(self, lines):
        self.looked_up += [line.event_id for line in lines]
        return [{"recipient": line.whose.address} for line in lines]

    async def feed(self, facts):
        self.fed += facts

    async def known_until(self):
        return self.until

    def follow(self, rounds=3):
        async def whole():
            for _ in range(rounds):
                await self.follower.look()

        asyncio.run(whole())


def line(name, whose, ago):
    at = datetime.now(UTC) - ago
    return Line(whose, name, at, at)


def test_all_that_was_ever_listed_is_known_and_recent_lines_are_looked_up_once():
    world = World(line("old", JO, timedelta(days=90)), line("new", ANN, timedelta(minutes=1)))
    world.follow()
    assert JO in world.listed
    assert ANN in world.listed
    assert Address("acme", "email", "kim@example.com") not in world.listed
    assert world.looked_up == ["new"]
    assert world.fed == [{"recipient": "ann@example.com"}]


def test_sends_are_looked_up_only_when_all_is_in_the_log_and_by_the_worker_that_decides():
    world = World(line("new", ANN, timedelta(minutes=1)))
    world.until = datetime.now(UTC) - timedelta(minutes=2)
    world.follow()
    assert world.looked_up == []
    world.until = datetime.now(UTC)
    world.ours.clear()
    world.follow()
    assert world.looked_up == []
    world.ours.add(ANN)
    world.follow()
    assert world.looked_up == ["new"]


def test_a_database_that_is_away_is_waited_for():
    world = World(line("new", ANN, timedelta(minutes=1)))
    world.failures = 2
    world.follow()
    assert world.looked_up == ["new"]


def test_what_was_written_late_is_looked_for_once_a_minute(monkeypatch):
    world = World()
    world.follow()
    now = datetime.now(UTC)
    whole, *soon = world.asked
    assert whole is None
    assert all(since > now - timedelta(minutes=1) for since in soon)
    monkeypatch.setattr("processor.intake.suppressed_addresses._A_MINUTE", timedelta(0))
    world.lines_ = [line("late", ANN, timedelta(minutes=5))]
    world.follow()
    assert world.looked_up == ["late"]
    assert all(since < now - timedelta(minutes=9) for since in world.asked[3:])
