"""Sessions: a signed cookie that names a key, ends by itself, and has a token for each change.

The cookie holds no secret and gives no right of its own: every request looks the key up anew, so a
revoked key ends its sessions. Before somebody has signed in there is a session without a key, so
that signing in too cannot be done in somebody's name by another site.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import time
from typing import Final

COOKIE: Final = "sendlog_session"
#: Seconds that a session lasts, from signing in.
LASTS: Final = 12 * 3600
_LONGEST: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser, and the key it has signed in with ("": with none yet); `ends` in Unix time."""

    nonce: str
    key: str
    ends: int


class Sessions:
    """Makes sessions and reads them back; only cookies signed with `secret` are believed."""

    def __init__(
        self, secret: bytes = b"", *, lasts: int = LASTS, clock: Callable[[], float] = time
    ) -> None:
        self._secret = secret or secrets.token_bytes(32)
        self.lasts = lasts
        self._clock = clock
        self._ended: dict[str, int] = {}
        self._lock = Lock()

    def begin(self, key: str = "") -> Session:
        """Return a new session of a key, by its id."""
        return Session(
            nonce=secrets.token_urlsafe(18), key=key, ends=int(self._clock()) + self.lasts
        )

    def written(self, session: Session) -> str:
        """Return a session as a cookie."""
        content = json.dumps([session.nonce, session.key, session.ends]).encode()
        return f"{_encoded(content)}.{_encoded(self._signed(b'session', content))}"

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie, or None if it is not ours, has expired, or was ended."""
        head, _, tail = cookie.partition(".")
        try:
            content, signature = _decoded(head), _decoded(tail)
        except (binascii.Error, ValueError):
            return None
        if len(cookie) > _LONGEST or not hmac.compare_digest(
            signature, self._signed(b"session", content)
        ):
            return None
        nonce, key, ends = json.loads(content)
        if ends < self._clock() or nonce in self._ended:
            return None
        return Session(nonce=nonce, key=key, ends=ends)

    def end(self, session: Session) -> None:
        """Believe a session's cookie no more, in this process."""
        with self._lock:
            now = self._clock()
            self._ended = {nonce: ends for nonce, ends in self._ended.items() if ends >= now}
            self._ended[session.nonce] = session.ends

    def token(self, session: Session) -> str:
        """Return what a form of this session has to carry."""
        return _encoded(self._signed(b"form", session.nonce.encode()))

    def genuine(self, session: Session, token: str) -> bool:
        """Tell whether a form was made for this session."""
        given = token.encode("utf-8", "surrogatepass")
        return hmac.compare_digest(self.token(session).encode(), given)

    def _signed(self, what: bytes, content: bytes) -> bytes:
        return hmac.digest(self._secret, what + b"\x00" + content, "sha256")


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
