"""JSON Web Tokens that are signed with a shared secret: HS256 and no other algorithm (RFC 7519)."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Final

from pydantic_core import from_json

from schemas.providers._signatures.verification import (
    SignatureError,
    hmac_digest,
    require_match,
    require_secret,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGORITHM: Final = "HS256"


def verified_claims(token: str, secret: str) -> Mapping[str, object]:
    """Return the claims of a token. Raises `SignatureError` if it is not signed with the secret.

    Whether they hold, as the time and the hashes, is for the caller to say.
    """
    signed, _, signature = token.rpartition(".")
    head, _, body = signed.partition(".")
    header, claims = _part(head, "header"), _part(body, "claims")
    if header.get("alg") != _ALGORITHM:
        raise SignatureError(f"the token is not signed with {_ALGORITHM}")
    digest = hmac_digest(require_secret(secret), signed, "sha256")
    require_match(_decoded(signature, "signature"), digest)
    return claims


def claimed_time(claims: Mapping[str, object], name: str) -> float:
    """Return a time in seconds since 1970. Raises `SignatureError` if it is missing."""
    value = claims.get(name)
    if not isinstance(value, int | float):
        raise SignatureError(f"the token has no {name}")
    return value


def _part(text: str, what: str) -> Mapping[str, object]:
    part = from_json(_decoded(text, what))
    if not isinstance(part, dict):
        raise SignatureError(f"the token's {what} is no object")
    return part


def _decoded(text: str, what: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise SignatureError(f"the token's {what} is not base64") from None
