"""The time that rules go by: the broker's, and what has passed since.

What a wrong clock decides for a moment, it decides once and for all: that a retry is too late, a
streak too old, a wait over. The broker says its time with each record that it stores in a topic of
its own times; from then on the time that has passed is added, by a clock that nobody can set. The
worker's own clock only tells that there is something to ask: whoever set it, or the machine slept.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

from processor.logging import get

log = get(__name__)

#: Clocks that agree to this are in order.
CLOCK_TOLERANCE: Final = timedelta(minutes=1)


class BrokerClock:
    """A clock; `observe` sets it right. Until then it goes on from the worker's."""

    def __init__(
        self,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed_seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._wall = wall
        self._elapsed_seconds = elapsed_seconds
        self._was_in_doubt = False
        self.observe(wall())

    def observe(self, broker_time: datetime) -> None:
        """Take what time the broker has just now."""
        self._anchor = broker_time
        self._anchored_at = self._elapsed_seconds()

    def now(self) -> datetime:
        """Return the current time."""
        return self._anchor + timedelta(seconds=self._elapsed_seconds() - self._anchored_at)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the worker's clock is far ahead: perhaps more time has passed than is known."""
        lead = self._wall() - self.now()
        is_in_doubt = lead > CLOCK_TOLERANCE
        if is_in_doubt and not self._was_in_doubt:
            log.warning("clock_ahead", seconds=round(lead.total_seconds()))
        self._was_in_doubt = is_in_doubt
        return is_in_doubt
