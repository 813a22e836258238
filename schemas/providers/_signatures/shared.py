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
