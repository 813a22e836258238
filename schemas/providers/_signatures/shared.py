"""A shared secret: Basic credentials, a bearer token, or a parameter of the webhook's address.

For every provider without a signature of its own: most let the webhook's address hold a user and a
password (`https://user:password@…`) or have fields for them, some a token. RFC 7617 and RFC 6750.
Others call the address as it is and send nothing else (`https://…?secret=…`), as Azure Event Grid
does in its handshake: "Webhook event delivery", "Using client secret as a query parameter".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from schemas.providers._signatures.verification import (
    SignatureError,
    constant_time_equal,
    from_base64,
    require_secret,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schemas.providers._signatures.verification import VerificationContext

#: The parameter of an address that holds the secret.
ADDRESS_PARAMETER: Final = "secret"


def without_secret(query: bytes) -> bytes:
    """Return a query without the secret, which is for nobody who reads the webhook later."""
    name = ADDRESS_PARAMETER.encode()
    pairs = query.split(b"&")
    return b"&".join(pair for pair in pairs if unquote_to_bytes(pair.partition(b"=")[0]) != name)


def check(context: VerificationContext, secret: str) -> None:
    """Accept the secret as Basic credentials, their password, a bearer token or a parameter."""
    secrets = [value for name, value in context.request.query if name == ADDRESS_PARAMETER]
    if not secrets:
        _check_header(context, secret)
    elif not all(constant_time_equal(value, require_secret(secret)) for value in secrets):
        raise SignatureError("the secret in the address does not match")


def _check_header(context: VerificationContext, secret: str) -> None:
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
