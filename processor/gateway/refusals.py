"""What was refused: counted, logged once a minute for each cause, and limited if it proves nothing.

One tenant's refusals from one address are limited, and all of one address. So passwords cannot be
tried at will, and a client with a wrong one keeps no other client, nor tenant, from being taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import Final

from processor import metrics
from processor.gateway.answers import RefusedError
from processor.logging import get
from projections.web.rate_limit import RateLimiter

log = get(__name__)

#: Unproven requests of one address to one hook: at once, and then for each second.
HOOK_BURST: Final = 100
HOOK_RATE: Final = 1.0
#: Of one address, to whatever hooks.
ADDRESS_BURST: Final = 1_000
ADDRESS_RATE: Final = 10.0
REFUSAL_LOG_SECONDS: Final = 60.0
#: Of causes that are remembered to be logged; those of configured hooks are fewer.
MAX_CAUSES: Final = 10_000


@dataclass(frozen=True, slots=True)
class RefusalCause:
    """What is refused, and why; `tenant` is empty if none is configured by that name."""

    provider: str
    tenant: str
    status: int
    reason: str
    detail: str


@dataclass(slots=True)
class _Tally:
    logged_at: float
    unlogged: int = 0


class Refusals:
    """The refusals of a gateway. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._hooks = RateLimiter(rate=HOOK_RATE, burst=HOOK_BURST, clock=clock)
        self._addresses = RateLimiter(rate=ADDRESS_RATE, burst=ADDRESS_BURST, clock=clock)
        self._tallies: dict[RefusalCause, _Tally] = {}

    def check(self, address: str, hook: str) -> None:
        """Raise `RefusedError` (429) if too much of an address was unproven, for a hook or in all.

        `hook` is any name of it, configured or not.
        """
        for limiter, key in ((self._hooks, f"{address} {hook}"), (self._addresses, address)):
            if wait := limiter.wait_seconds(key):
                raise RefusedError(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    "rate",
                    "too many requests of this address proved nothing",
                    {"Retry-After": str(math.ceil(wait))},
                )

    def note_unproven(self, address: str, hook: str) -> None:
        """Count a request that was not its provider's towards the limits."""
        self._hooks.take(f"{address} {hook}")
        self._addresses.take(address)

    def count(self, cause: RefusalCause) -> None:
        """Count a refusal; log it unless its cause was logged within the last minute."""
        metrics.HOOKS_REFUSED_TOTAL.labels(provider=cause.provider, reason=cause.reason).inc()
        if cause not in self._tallies and len(self._tallies) >= MAX_CAUSES:
            self.flush()
        tally = self._tallies.setdefault(cause, _Tally(float("-inf")))
        tally.unlogged += 1
        if self._clock() - tally.logged_at >= REFUSAL_LOG_SECONDS:
            self._log(cause, tally)

    def flush(self) -> None:
        """Log what has not been logged yet, and forget the causes that have nothing new."""
        for cause, tally in list(self._tallies.items()):
            if tally.unlogged:
                self._log(cause, tally)
            else:
                del self._tallies[cause]

    def _log(self, cause: RefusalCause, tally: _Tally) -> None:
        log.warning(
            "hook_refused",
            provider=cause.provider,
            tenant=cause.tenant,
            status=cause.status,
            reason=cause.reason,
            detail=cause.detail,
            count=tally.unlogged,
        )
        tally.logged_at, tally.unlogged = self._clock(), 0
