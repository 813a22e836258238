"""A shared secret in the Authorization header: Basic credentials, or a bearer token.

For every provider without a signature of its own: most let the webhook's address hold a user and a
password (`https://user:password@…`) or have fields for them, some a token. RFC 7617 and RFC 6750.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.providers._signatures import SignatureError, from_base64, given, same

if TYPE_CHECKING:
    from schemas.providers._signatures import Call


def check(call: Call, secret: str) -> None:
    """Take Basic credentials that are the secret, or whose password it is; or it as a token."""
    scheme, _, value = call.request.header("authorization").partition(" ")
    match scheme.lower():
        case "basic":
            credentials = from_base64(value.strip(), "the credentials")
            password = credentials.partition(b":")[2]
            # Both are looked at, so that the time tells nothing.
            known = [same(credentials, given(secret)), same(password, given(secret))]
            if not any(known):
                raise SignatureError("user and password do not match")
        case "bearer":
            if not same(value.strip(), given(secret)):
                raise SignatureError("the token does not match")
        case _:
            raise SignatureError("the header authorization is neither Basic nor Bearer")
