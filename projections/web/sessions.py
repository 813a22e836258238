"""Sessions: a signed cookie that names a key or a person, expires, and has a token for its forms.

The cookie has no secret. Every request finds the key anew, and what a person's groups may do: a
revoked key ends its sessions. There is a session without a key before somebody signs in, so that
another site cannot sign them in either.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from time import time
from typing import Any, Final

from projections.web.people import Person, SignInRefusedError

SESSION_COOKIE: Final = "sendlog_session"
#: How long the session of a key lasts from signing in.
SESSION_SECONDS: Final = 12 * 3600
#: What has to come back from a provider, and for how long it is waited for.
PENDING_COOKIE: Final = "sendlog_sign_in"
PENDING_SECONDS: Final = 600
#: Browsers keep no larger one, with its name.
_MAX_COOKIE_LENGTH: Final = 3_900
#: A longer URL is not come back to.
_MAX_NEXT_LENGTH: Final = 2_600


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSession:
    """A browser's session: of a key (its id) or of a person, of neither before signing in.

    Unix time.
    """

    nonce: str
    key: str
    expires_at: int
    person: Person | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSignIn:
    """A sign-in that was begun at a provider, and the page to come back to.

    `nonce` is what its token has to name, `verifier` the proof of RFC 7636 that the code is ours.
    """

    state: str
    next_url: str
    nonce: str
    verifier: str


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

    def begin_of(self, person: Person, lifetime_seconds: int) -> BrowserSession:
        """Return a new session for a person. Raises `SignInRefusedError` if no cookie can hold it.

        That is somebody with very many groups.
        """
        session = BrowserSession(
            nonce=secrets.token_urlsafe(18), key="", person=person,
            expires_at=int(self._clock()) + lifetime_seconds,
        )  # fmt: skip
        if len(self.to_cookie(session)) > _MAX_COOKIE_LENGTH:
            raise SignInRefusedError("too_many_groups")
        return session

    def seconds_left(self, session: BrowserSession) -> int:
        """Return for how long a session is good."""
        return max(0, session.expires_at - int(self._clock()))

    def to_cookie(self, session: BrowserSession) -> str:
        """Return the cookie of a session."""
        content = [session.nonce, session.key, session.expires_at]
        if person := session.person:
            content.append([
                person.issuer, person.subject, person.name, person.email, list(person.groups)
            ])  # fmt: skip
        return self._seal(b"session", content)

    def read(self, cookie: str) -> BrowserSession | None:
        """Return the session of a cookie; None if it is forged, expired or ended."""
        content = self._unseal(b"session", cookie)
        if content is None:
            return None
        nonce, key, expires_at, *people = content
        if expires_at < self._clock() or nonce in self._ended:
            return None
        session = BrowserSession(nonce=nonce, key=key, expires_at=expires_at)
        for issuer, subject, name, email, groups in people:
            person = Person(
                issuer=issuer, subject=subject, name=name, email=email, groups=tuple(groups)
            )
            session = replace(session, person=person)
        return session

    def begin_pending(self, next_url: str) -> tuple[PendingSignIn, str]:
        """Return a sign-in to be begun at a provider, and its cookie."""
        next_url = next_url if len(next_url) <= _MAX_NEXT_LENGTH else "/"
        state, expires_at = secrets.token_urlsafe(24), int(self._clock()) + PENDING_SECONDS
        cookie = self._seal(b"pending", [state, next_url, expires_at])
        return self._pending(state, next_url), cookie

    def read_pending(self, cookie: str, state: str) -> PendingSignIn | None:
        """Return the sign-in of a cookie that was begun with a state; None if there is none."""
        content = self._unseal(b"pending", cookie)
        if content is None or content[2] < self._clock():
            return None
        state_bytes = state.encode("utf-8", "surrogatepass")
        is_same = hmac.compare_digest(content[0].encode(), state_bytes)
        return self._pending(content[0], content[1]) if is_same else None

    def _pending(self, state: str, next_url: str) -> PendingSignIn:
        """Nonce and verifier follow from the state, so that no browser has to keep them."""
        return PendingSignIn(
            state=state, next_url=next_url,
            nonce=_encode(self._signature(b"nonce", state.encode())),
            verifier=_encode(self._signature(b"verifier", state.encode())),
        )  # fmt: skip

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

    def _seal(self, purpose: bytes, value: object) -> str:
        content = json.dumps(value, separators=(",", ":")).encode()
        return f"{_encode(content)}.{_encode(self._signature(purpose, content))}"

    def _unseal(self, purpose: bytes, cookie: str) -> list[Any] | None:
        """Return what was sealed for a purpose; None if it is forged."""
        head, _, tail = cookie.partition(".")
        try:
            content, signature = _decode(head), _decode(tail)
        except (binascii.Error, ValueError):
            return None
        if len(cookie) > _MAX_COOKIE_LENGTH or not hmac.compare_digest(
            signature, self._signature(purpose, content)
        ):
            return None
        value = json.loads(content)
        assert isinstance(value, list)
        return value

    def _signature(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + b"\x00" + content, "sha256")


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
