"""Tokens of OAUTHBEARER, by a command or for credentials; renewed before they expire."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from threading import Lock
from time import time
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlencode

from aiokafka.abc import AbstractTokenProvider
from kafka.net.sasl.oauth import AbstractTokenProvider as SyncAbstractTokenProvider

from processor.settings import KafkaSettings
from projections.tls import TlsFiles, client_context, tls_problem
from schemas.errors import ExplainedError

TOKEN_TIMEOUT_SECONDS: Final = 10
#: A token is renewed when this part of its life is left.
RENEWAL_SHARE: Final = 0.2


class TokenError(ExplainedError, OSError):
    """There is no token; the text says why, and never has one.

    For Kafka's clients it is one more way in which a connection fails, and they try again.
    """


class Token(NamedTuple):
    """A token, and for how many seconds it is good; 0 if it does not say."""

    text: str
    lifetime_seconds: float


FetchToken: TypeAlias = Callable[[], Token]


class TokenCache:
    """Keeps a token while it is good. Safe to share between threads."""

    def __init__(self, fetch: FetchToken, clock: Callable[[], float] = time) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = Lock()
        self._text, self._renew_at = "", 0.0

    def get(self) -> str:
        """Return a token that is good for now. Raises `TokenError`."""
        with self._lock:
            if self._clock() >= self._renew_at:
                text, seconds = self._fetch()
                self._text = text
                self._renew_at = self._clock() + seconds * (1 - RENEWAL_SHARE)
            return self._text


class AsyncTokens(AbstractTokenProvider):
    """Tokens as aiokafka asks for them."""

    def __init__(self, tokens: TokenCache) -> None:
        super().__init__()
        self._tokens = tokens

    async def token(self) -> str:
        """Return a token. Raises `TokenError`."""
        return await asyncio.to_thread(self._tokens.get)


class SyncTokens(SyncAbstractTokenProvider):
    """Tokens as kafka-python asks for them."""

    def __init__(self, tokens: TokenCache) -> None:
        super().__init__()
        self._tokens = tokens

    def token(self) -> str:
        """Return a token. Raises `TokenError`."""
        return self._tokens.get()


def tokens_of(kafka: KafkaSettings) -> TokenCache:
    """Return the tokens of the settings: one cache in a process, for all clients."""
    if kafka.token_command:
        return _shared_cache(partial(token_by_command, kafka.token_command), kafka.token_command)
    return _shared_cache(partial(token_by_credentials, kafka), (kafka.token_url, kafka.user))


_caches: dict[Any, TokenCache] = {}


def _shared_cache(fetch: FetchToken, key: Any) -> TokenCache:
    return _caches.setdefault(key, TokenCache(fetch))


def token_by_command(command: str) -> Token:
    """Return what a command prints: a token, or JSON as a token endpoint gives it.

    Raises `TokenError`, without what it printed.
    """
    variable = "SENDLOG_KAFKA__TOKEN_COMMAND"
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command
            shlex.split(command), capture_output=True, check=True, timeout=TOKEN_TIMEOUT_SECONDS
        )
        text = done.stdout.decode().strip()
    except subprocess.CalledProcessError as error:
        raise TokenError(f"{variable} ended with exit code {error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise TokenError(f"{variable} took more than {TOKEN_TIMEOUT_SECONDS} s") from None
    except OSError as error:
        raise TokenError(f"{variable} cannot be run: {error.strerror}") from None
    except ValueError:  # quotes that do not match, or bytes that are no text
        raise TokenError(f"{variable} is no command that prints a token") from None
    if text.startswith("{"):
        return _token_of(text, variable)
    if not text:
        raise TokenError(f"{variable} printed nothing")
    return Token(text, _jwt_seconds(text))


def token_by_credentials(kafka: KafkaSettings) -> Token:
    """Return a token for a client's id and secret (RFC 6749, 4.4). Raises `TokenError`."""
    variable = "SENDLOG_KAFKA__TOKEN_URL"
    credentials = f"{kafka.user}:{kafka.password.get_secret_value()}".encode()
    fields = {"grant_type": "client_credentials"}
    if kafka.token_scope:
        fields["scope"] = kafka.token_scope
    request = urllib.request.Request(  # noqa: S310 - the settings take https only, or loopback
        kafka.token_url,
        data=urlencode(fields).encode(),
        headers={"Authorization": f"Basic {base64.b64encode(credentials).decode()}"},
    )
    # The system's CAs, and the broker's: the endpoint may be an identity provider's public one.
    context = client_context(TlsFiles(group="SENDLOG_KAFKA"))
    if kafka.ca_file is not None:
        context.load_verify_locations(kafka.ca_file)
    try:
        with urllib.request.urlopen(  # noqa: S310 - see above
            request, timeout=TOKEN_TIMEOUT_SECONDS, context=context
        ) as reply:
            return _token_of(reply.read().decode(), variable)
    except urllib.error.HTTPError as error:
        error.close()
        raise TokenError(f"{variable} answered {error.code} to USER and PASSWORD") from None
    except (OSError, HTTPException, UnicodeDecodeError) as error:
        problem = tls_problem(error, "SENDLOG_KAFKA") or f"it does not answer ({error})"
        raise TokenError(f"{variable}: {problem}") from None


def _token_of(text: str, variable: str) -> Token:
    try:
        answer: Mapping[str, Any] = json.loads(text)
        token = str(answer["access_token"])
        return Token(token, float(answer.get("expires_in") or _jwt_seconds(token)))
    except (ValueError, KeyError, TypeError):
        raise TokenError(f"{variable} gave no access_token") from None


def _jwt_seconds(token: str) -> float:
    """Return for how long a JWT is good; 0 if it is none, or does not say."""
    with suppress(ValueError, KeyError, TypeError, IndexError):
        claims = token.split(".")[1]
        text = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
        return max(0.0, float(json.loads(text)["exp"]) - time())
    return 0.0
