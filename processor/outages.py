"""Logs once that a service is away and once that it is back, however many wait for it."""

from __future__ import annotations

from time import monotonic
from typing import Any

from prometheus_client import Gauge

from processor.logging import get

log = get(__name__)


class Outage:
    """Who waits for a service; its events are `<service>_away` and `<service>_back`."""

    def __init__(self, service: str, gauge: Gauge) -> None:
        """Take the name for the log, and a gauge that is 1 while anything waits."""
        self._events = f"{service}_away", f"{service}_back"
        self._gauge = gauge
        self._waiting: set[object] = set()
        self._since = 0.0

    @property
    def is_on(self) -> bool:
        """Whether anything waits now."""
        return bool(self._waiting)

    def begin(self, waiter: object, **fields: Any) -> None:
        """Note that `waiter` waits; log it with the fields if it is the first."""
        if not self._waiting:
            self._since = monotonic()
            self._gauge.set(1)
            log.warning(self._events[0], **fields)
        self._waiting.add(waiter)

    def end(self, waiter: object) -> None:
        """Note that `waiter` waits no more, if it did; log it if it is the last."""
        if waiter in self._waiting:
            self._waiting.discard(waiter)
            if not self._waiting:
                self._gauge.set(0)
                log.info(self._events[1], seconds=round(monotonic() - self._since, 1))
