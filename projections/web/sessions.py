"""Sessions: a signed cookie that names a key, expires, and has a token for its forms.

The cookie has no secret, and every request finds the key anew: a revoked key ends its sessions.
There is a session without a key before somebody signs in, so that another site cannot sign them in
either.
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

SESSION_COOKIE: Final = "sendlog_session"
#: How long a session lasts from signing in.
SESSION_SECONDS: Final = 12 * 3600
_MAX_COOKIE_LENGTH: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSession:
    """A browser's session: `key` is the id of a key, "" before signing in; Unix time."""

    nonce: str
    key: str
    expires_at: int


class Sessions:
    """Makes sessions, and reads them from cookies that are signed with `secret`.

    Without a secret a random one is made. `clock` gives Unix time.
    """

    def __init__(
        self,
        secret: bytes = b"",
        *,
        lifetime_seconds: int = SESSION_SECONDS,
        clock: Callable[[], float] = time,
    ) -> None:
        self._secret = secret or secrets.token_bytes(32)
        self.lifetime_seconds = lifetime_seconds
        self._clock = clock
        self._ended: dict[str, int] = {}
        self._lock = Lock()

    def begin(self, key: str = "") -> BrowserSession:
        """Return a new session for the id of a key."""
        return BrowserSession(
            nonce=secrets.token_urlsafe(18),
            key=key,
            expires_at=int(self._clock()) + self.lifetime_seconds,
        )

    def to_cookie(self, session: BrowserSession) -> str:
        """Return the cookie of a session."""
        content = json.dumps([session.nonce, session.key, session.expires_at]).encode()
        return f"{_encode(content)}.{_encode(self._signature(b'session', content))}"

    def read(self, cookie: str) -> BrowserSession | None:
        """Return the session of a cookie; None if it is forged, expired or ended."""
        head, _, tail = cookie.partition(".")
        try:
            content, signature = _decode(head), _decode(tail)
        except (binascii.Error, ValueError):
            return None
        if len(cookie) > _MAX_COOKIE_LENGTH or not hmac.compare_digest(
            signature, self._signature(b"session", content)
        ):
            return None
        nonce, key, expires_at = json.loads(content)
        if expires_at < self._clock() or nonce in self._ended:
            return None
        return BrowserSession(nonce=nonce, key=key, expires_at=expires_at)

    def end(self, session: BrowserSession) -> None:
        """Refuse a session's cookie from now on, in this process."""
        with self._lock:
            now = self._clock()
            self._ended = {
                nonce: ends_at for nonce, ends_at in self._ended.items() if ends_at >= now
            }
            self._ended[session.nonce] = session.expires_at

    def form_token(self, session: BrowserSession) -> str:
        """Return the token that a form of this session must carry."""
        return _encode(self._signature(b"form", session.nonce.encode()))

    def is_form_token(self, session: BrowserSession, token: str) -> bool:
        """Return whether a form with this token was made for this session."""
        token_bytes = token.encode("utf-8", "surrogatepass")
        return hmac.compare_digest(self.form_token(session).encode(), token_bytes)

    def _signature(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + b"\x00" + content, "sha256")


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
