"""How often a key may ask: a bucket of tokens per key, refilled at a steady rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

#: Buckets that are remembered; a full one need not be.
_MOST: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Limiter:
    """Buckets of `burst` tokens, refilled by `rate` a second. Used from one thread."""

    def __init__(
        self, *, rate: float, burst: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def wait(self, key: str) -> float:
        """Take a token of a key; return 0, or the seconds until there is one."""
        now = self._clock()
        if len(self._buckets) > _MOST:
            self._forget(now)
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
        bucket.tokens = self._level(bucket, now)
        bucket.at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._rate
        bucket.tokens -= 1
        return 0

    def _level(self, bucket: _Bucket, now: float) -> float:
        return min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)

    def _forget(self, now: float) -> None:
        self._buckets = {
            key: bucket
            for key, bucket in self._buckets.items()
            if self._level(bucket, now) < self._burst
        }
