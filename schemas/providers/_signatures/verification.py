"""What the schemes of signatures share: the request and its context, the error, comparisons."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl, urlsplit

#: How far a signature's own time may be from ours.
SIGNATURE_TOLERANCE: Final = timedelta(minutes=5)
#: Of a query or a form that is read before it is proven to be its provider's.
MAX_FIELDS: Final = 1_000
_MAX_TIMESTAMP_DIGITS: Final = 13
_STANDARD_PORTS: Final = {"https": 443, "http": 80}


class SignatureError(ValueError):
    """A webhook that is not shown to be its provider's; the text says why, without any value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A webhook as it arrived.

    `url` is the one the provider called, with its query; header names are lower-case; `body` is
    the bytes unchanged, empty for a GET.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """Return a header. Raises `SignatureError` if it is missing or empty."""
        value = self.headers.get(name)
        if not value:
            raise SignatureError(f"the header {name} is missing")
        return value

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters of the query, decoded, in their order."""
        return _pairs(urlsplit(self.url).query)

    @property
    def form(self) -> list[tuple[str, str]]:
        """The fields of the body read as a form, decoded, in their order."""
        return _pairs(self.body.decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationContext:
    """A request and what it is judged by: the time, and certificates (PEM) by their address."""

    request: Request
    now: datetime
    tolerance: timedelta = SIGNATURE_TOLERANCE
    certificates: Mapping[str, bytes] = field(default_factory=dict)

    def check_timestamp(self, seconds: object) -> None:
        """Raise `SignatureError` unless a text of seconds since 1970 is within the tolerance."""
        text = str(seconds)
        if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_TIMESTAMP_DIGITS):
            raise SignatureError("the timestamp is not a number of seconds")
        self.check_time(int(text))

    def check_time(self, seconds: float) -> None:
        """Raise `SignatureError` unless a time (seconds since 1970) is within the tolerance."""
        age = self.now.timestamp() - seconds
        limit = self.tolerance.total_seconds()
        if age > limit:
            raise SignatureError(f"the timestamp is {age:.0f} s old; {limit:.0f} are taken")
        if age < -limit:
            raise SignatureError(f"the timestamp is {-age:.0f} s in the future")


def with_and_without_port(url: str) -> list[str]:
    """Return an address without its port, and with it; by default that of its scheme.

    What a provider signs may have the port or not, and a proxy may have added or removed it.
    """
    parts = urlsplit(url)
    port = parts.port or _STANDARD_PORTS.get(parts.scheme)
    host = parts.netloc.removesuffix(f":{parts.port}")
    rest = url.partition("://")[2].removeprefix(parts.netloc)
    return [f"{parts.scheme}://{host}{rest}", f"{parts.scheme}://{host}:{port}{rest}"]


def from_base64(text: str, what: str) -> bytes:
    """Decode base64. Raises `SignatureError` with the name `what` for anything else."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise SignatureError(f"{what} is not base64") from None


def constant_time_equal(value: str | bytes, expected: str | bytes) -> bool:
    """Compare in a time that does not depend on where the two differ."""
    return hmac.compare_digest(_bytes(value), _bytes(expected))


def require_match(value: str | bytes, *candidates: str | bytes) -> None:
    """Raise `SignatureError` unless a value equals a candidate; all of them are compared."""
    # A list, not a generator: `any` must not stop at the first match.
    if not any([constant_time_equal(value, candidate) for candidate in candidates]):  # noqa: C419
        raise SignatureError("the signature does not match")


def hmac_digest(key: str | bytes, text: str | bytes, algorithm: str) -> bytes:
    """Return an HMAC."""
    return hmac.digest(_bytes(key), _bytes(text), algorithm)


def sha256(data: bytes) -> str:
    """Return a SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def require_secret(secret: str) -> str:
    """Return a secret of any form. Raises `SignatureError` if it is empty."""
    if not secret:
        raise SignatureError("no secret is configured")
    return secret


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return decoded pairs. Raises `ValueError`, before it decodes any, if they are too many."""
    return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
