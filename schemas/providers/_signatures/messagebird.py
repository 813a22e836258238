"""MessageBird: a JWT over the address and the body; before that, an HMAC over query and body.

The token (HS256) has its validity in `nbf` and `exp`, and the hashes of the address and of the body
in `url_hash` and `payload_hash`; the latter is missing if there is no body. Source: MessageBird's
docs, "Verify HTTP requests", and its SDKs.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from schemas.providers._signatures.jwt import claimed_time, verified_claims
from schemas.providers._signatures.verification import (
    SignatureError,
    constant_time_equal,
    hmac_digest,
    require_match,
    require_secret,
    sha256,
    with_and_without_port,
)

if TYPE_CHECKING:
    from schemas.providers._signatures.verification import Request, VerificationContext

_TOKEN_HEADER: Final = "messagebird-signature-jwt"  # noqa: S105 - the name of a header
_HMAC_HEADER: Final = "messagebird-signature"
HEADERS: Final = (_TOKEN_HEADER, _HMAC_HEADER)
_ISSUER: Final = "MessageBird"


def check(context: VerificationContext, secret: str) -> None:
    """Check the token if there is one, else the HMAC."""
    token = context.request.headers.get(_TOKEN_HEADER)
    if token:
        _check_token(context, token.strip(), secret)
    else:
        _check_hmac(context, secret)


def _check_token(context: VerificationContext, token: str, secret: str) -> None:
    claims, request = verified_claims(token, secret), context.request
    if claims.get("iss") != _ISSUER:
        raise SignatureError(f"the token is not issued by {_ISSUER}")
    context.check_time(claimed_time(claims, "nbf"))
    limit = claimed_time(claims, "exp") + context.tolerance.total_seconds()
    if context.now.timestamp() > limit:
        raise SignatureError("the token has expired")
    hashes = [
        sha256(url.encode("utf-8", "surrogatepass")) for url in with_and_without_port(request.url)
    ]
    require_match(str(claims.get("url_hash") or "").lower(), *hashes)
    expected = sha256(request.body) if request.body else ""
    if not constant_time_equal(str(claims.get("payload_hash") or "").lower(), expected):
        raise SignatureError("the body does not match the token's payload_hash")


def _check_hmac(context: VerificationContext, secret: str) -> None:
    request = context.request
    timestamp = request.header("messagebird-request-timestamp")
    expected = hmac_digest(require_secret(secret), _signed_bytes(request, timestamp), "sha256")
    require_match(request.header(_HMAC_HEADER), b64encode(expected))
    context.check_timestamp(timestamp)


def _signed_bytes(request: Request, timestamp: str) -> bytes:
    """Return time, sorted query and the digest of the body, a line for each."""
    head = f"{timestamp}\n{urlencode(sorted(request.query))}\n"
    return head.encode("utf-8", "surrogatepass") + bytes.fromhex(sha256(request.body))
