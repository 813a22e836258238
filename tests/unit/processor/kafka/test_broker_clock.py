"""Time is the broker's; how the worker's clock is set says only when to ask again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import structlog

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


def test_time_is_the_broker_s_and_what_has_passed():
    clocks = Clocks()
    clocks.clock.observe(NOON - timedelta(seconds=2))
    clocks.pass_time(HOUR)
    assert clocks.clock.now() == NOON + HOUR - timedelta(seconds=2)
    assert not clocks.clock.is_in_doubt


@pytest.mark.parametrize("jump", [-YEAR, -HOUR, timedelta(seconds=-1), MINUTE, HOUR, YEAR])
def test_a_jump_of_the_clock_moves_nothing(jump):
    clocks = Clocks()
    clocks.wall += jump
    assert clocks.clock.now() == NOON
    clocks.pass_time(HOUR)
    assert clocks.clock.now() == NOON + HOUR
    assert clocks.clock.is_in_doubt == (jump > MINUTE)
    clocks.wall -= jump
    assert not clocks.clock.is_in_doubt


@pytest.mark.parametrize("error", [-YEAR, YEAR])
def test_a_clock_that_is_wrong_from_the_start_is_set_right_by_the_broker(error):
    clocks = Clocks(wall=NOON + error)
    clocks.clock.observe(NOON)
    assert clocks.clock.now() == NOON


def test_time_that_passed_while_the_machine_was_suspended_is_known_from_the_broker():
    clocks = Clocks()
    clocks.wall += HOUR
    assert clocks.clock.is_in_doubt
    clocks.clock.observe(clocks.wall)
    assert clocks.clock.now() == clocks.wall
    assert not clocks.clock.is_in_doubt


def test_doubt_is_said_once():
    clocks = Clocks()
    clocks.wall += HOUR
    with structlog.testing.capture_logs() as lines:
        assert clocks.clock.is_in_doubt
        assert clocks.clock.is_in_doubt
    assert [(line["event"], line["seconds"]) for line in lines] == [("clock_ahead", 3600)]
