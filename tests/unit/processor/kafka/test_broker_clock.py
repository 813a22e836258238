"""Time is the worker's, but never far ahead of the broker's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from processor.kafka.broker_clock import BrokerClock

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
MINUTE, HOUR, YEAR = timedelta(minutes=1), timedelta(hours=1), timedelta(days=365)


class Clocks:
    """A clock that somebody sets, and one that nobody can."""

    def __init__(self, wall=NOON):
        self.wall, self.seconds = wall, 0.0
        self.clock = BrokerClock(lambda: self.wall, lambda: self.seconds)

    def pass_time(self, time):
        self.wall += time
        self.seconds += time.total_seconds()


def test_a_clock_that_agrees_with_the_broker_is_followed():
    clocks = Clocks()
    clocks.clock.observe(NOON - timedelta(seconds=2))
    clocks.pass_time(HOUR)
    assert clocks.clock.now() == NOON + HOUR
    assert not clocks.clock.is_ahead


def test_a_jump_ahead_moves_time_by_a_minute_at_most_and_ends_with_it():
    clocks = Clocks()
    clocks.wall += YEAR
    assert clocks.clock.now() == NOON + MINUTE
    assert clocks.clock.is_ahead
    clocks.pass_time(HOUR)
    assert clocks.clock.now() == NOON + HOUR + MINUTE
    clocks.wall -= YEAR
    assert clocks.clock.now() == NOON + HOUR
    assert not clocks.clock.is_ahead


def test_a_clock_that_was_ahead_from_the_start_is_set_right_by_the_broker():
    clocks = Clocks(wall=NOON + YEAR)
    clocks.clock.observe(NOON)
    assert clocks.clock.now() == NOON + MINUTE


def test_time_that_passed_while_the_machine_was_suspended_is_known_from_the_broker():
    clocks = Clocks()
    clocks.wall += HOUR
    assert clocks.clock.is_ahead is False
    assert clocks.clock.now() < clocks.wall
    clocks.clock.observe(clocks.wall)
    assert clocks.clock.now() == clocks.wall
    assert not clocks.clock.is_ahead


def test_a_clock_that_is_behind_makes_things_late():
    clocks = Clocks()
    clocks.wall -= HOUR
    assert clocks.clock.now() == NOON - HOUR
