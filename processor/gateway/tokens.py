"""Tokens that a provider signs in place of a body: good for the body that they first came with.

The memory is this process's own, is lost with it, and holds the latest `MAX_TOKENS`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

#: About 30 MB: three webhooks a second for the nine hours in which Mailgun tries again.
MAX_TOKENS: Final = 100_000
_MULTIPART_MARKER: Final = b"--"


class TokenMemory:
    """What bodies tokens came with, until they are too old to be taken."""

    def __init__(self, capacity: int = MAX_TOKENS) -> None:
        self._capacity = capacity
        self._bodies: dict[tuple[str, str], tuple[bytes, datetime]] = {}

    def admits(
        self, tenant: str, token: str, body: bytes, now: datetime, lifetime: timedelta
    ) -> bool:
        """Return whether a token came with no other body before; remember it for its lifetime."""
        self._forget(now)
        digest = _digest(body)
        # Signed by a clock that may be ahead by the lifetime as well.
        known_digest, _ = self._bodies.setdefault((tenant, token), (digest, now + 2 * lifetime))
        return known_digest == digest

    def _forget(self, now: datetime) -> None:
        while self._bodies:
            oldest = next(iter(self._bodies))
            if len(self._bodies) < self._capacity and self._bodies[oldest][1] > now:
                return
            del self._bodies[oldest]


def _digest(body: bytes) -> bytes:
    """Return a body's hash, but for a form's boundary, which may be drawn anew by a retry."""
    start = body.lstrip()
    if start.startswith(_MULTIPART_MARKER):
        body = body.replace(start.split(None, 1)[0].removeprefix(_MULTIPART_MARKER), b"")
    return sha256(body).digest()
