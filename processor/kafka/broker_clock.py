"""The time that rules go by: the worker's clock, but never far ahead of the broker's.

A clock that is wrong for a moment must not make retries too late or streaks too old, for that is
decided once and for all. The broker says its time with each record that it stores in a topic of its
own times; from then on at most the time that has passed since, by a clock that nobody can set, is
added. A clock that is behind only makes things late.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

from processor.logging import get

log = get(__name__)

#: Clocks that agree to this are in order.
MAX_CLOCK_LEAD: Final = timedelta(minutes=1)


class BrokerClock:
    """A clock; `observe` sets it right."""

    def __init__(
        self,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed_seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._wall = wall
        self._elapsed_seconds = elapsed_seconds
        self._is_ahead = False
        #: Until the broker says its time: from now on nobody sets the clock forward.
        self.observe(wall())

    def observe(self, broker_time: datetime) -> None:
        """Take what time the broker has just now."""
        self._anchor = broker_time
        self._anchored_at = self._elapsed_seconds()

    def now(self) -> datetime:
        """Return the current time."""
        elapsed = timedelta(seconds=self._elapsed_seconds() - self._anchored_at)
        wall, latest = self._wall(), self._anchor + elapsed + MAX_CLOCK_LEAD
        if self._is_ahead != (wall > latest):
            self._is_ahead = wall > latest
            if self._is_ahead:
                log.warning("clock_ahead", seconds=round((wall - latest).total_seconds()))
        return min(wall, latest)

    @property
    def is_ahead(self) -> bool:
        """Whether the worker's clock was too far ahead when it was read last."""
        return self._is_ahead
