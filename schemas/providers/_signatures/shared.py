"""A shared secret in the Authorization header: Basic credentials, or a bearer token.

For every provider without a signature of its own: most let the webhook's address hold a user and a
password (`https://user:password@…`) or have fields for them, some a token. RFC 7617 and RFC 6750.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.providers._signatures.verification import (
    SignatureError,
    constant_time_equal,
    from_base64,
    require_secret,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schemas.providers._signatures.verification import VerificationContext


def check(context: VerificationContext, secret: str) -> None:
    """Accept the secret as Basic credentials, as their password, or as a bearer token."""
    scheme, _, value = context.request.header("authorization").partition(" ")
    match scheme.lower():
        case "basic":
            credentials = from_base64(value.strip(), "the credentials")
            password = credentials.partition(b":")[2]
            # Both are compared, so that the time does not show which one matched.
            matches = [
                constant_time_equal(credentials, require_secret(secret)),
                constant_time_equal(password, require_secret(secret)),
            ]
            if not any(matches):
                raise SignatureError("user and password do not match")
        case "bearer":
            if not constant_time_equal(value.strip(), require_secret(secret)):
                raise SignatureError("the token does not match")
        case _:
            raise SignatureError("the header authorization is neither Basic nor Bearer")


def or_signature(
    headers: Iterable[str], verify: Callable[[VerificationContext, str], None]
) -> Callable[[VerificationContext, str], None]:
    """Return a check that takes a signature, which is in one of `headers`, or a shared secret.

    Some providers sign whether or not anybody asked for it, with a key that a password in the
    address has nothing to do with: so a signature that does not match spoils no credentials that
    do. Either proof needs the secret.
    """
    names = tuple(headers)

    def verify_either(context: VerificationContext, secret: str) -> None:
        request_headers = context.request.headers
        has_credentials = bool(request_headers.get("authorization"))
        if any(request_headers.get(name) for name in names):
            try:
                verify(context, secret)
            except SignatureError:
                if not has_credentials:
                    raise
            else:
                return
        elif not has_credentials:
            raise SignatureError("there is neither a signature nor an authorization")
        check(context, secret)

    return verify_either
