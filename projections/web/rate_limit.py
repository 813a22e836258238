"""The rate limit of each key: a bucket of tokens, refilled at a steady rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

#: With more buckets than this, full ones are dropped: a new one is as full.
_MAX_BUCKETS: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    updated_at: float


class RateLimiter:
    """Buckets of `burst` tokens, refilled by `rate` tokens a second. Not thread-safe."""

    def __init__(
        self, *, rate: float, burst: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key: str) -> float:
        """Take a token of a key; return 0, or the seconds until there is one."""
        now = self._clock()
        if len(self._buckets) > _MAX_BUCKETS:
            self._drop_full_buckets(now)
        bucket = self._buckets.setdefault(key, _Bucket(self.burst, now))
        bucket.tokens = self._tokens(bucket, now)
        bucket.updated_at = now
        if wait := self._wait(bucket.tokens):
            return wait
        bucket.tokens -= 1
        return 0

    def wait_seconds(self, key: str) -> float:
        """Return what `take` would, and take nothing."""
        tokens, _ = self.remaining(key)
        return self._wait(tokens)

    def remaining(self, key: str) -> tuple[float, float]:
        """Return the tokens that a key has left, and the seconds until it has all of them."""
        bucket = self._buckets.get(key)
        tokens = self._tokens(bucket, self._clock()) if bucket else self.burst
        return tokens, (self.burst - tokens) / self.rate

    def _wait(self, tokens: float) -> float:
        return max(0, 1 - tokens) / self.rate

    def _tokens(self, bucket: _Bucket, now: float) -> float:
        return min(self.burst, bucket.tokens + (now - bucket.updated_at) * self.rate)

    def _drop_full_buckets(self, now: float) -> None:
        self._buckets = {
            key: bucket
            for key, bucket in self._buckets.items()
            if self._tokens(bucket, now) < self.burst
        }
