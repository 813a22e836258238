"""Plivo: an HMAC over the address and a nonce; version 3 also covers the parameters.

Of a request with both versions the third counts, for the second covers neither query nor body. A
request of a subaccount is also signed for the main account; a header may hold several signatures,
while tokens change. Sources: Plivo's docs, "Validating requests" (signatures V2 and V3), and its
SDKs.
"""

from __future__ import annotations

from base64 import b64encode
from itertools import product
from typing import TYPE_CHECKING, Final

from schemas.providers._signatures.verification import (
    SignatureError,
    constant_time_equal,
    hmac_digest,
    require_secret,
    with_and_without_port,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.providers._signatures.verification import Request, VerificationContext

#: The headers with signatures by the token of the account, and by that of its main account.
_V3_HEADERS: Final = ("x-plivo-signature-v3", "x-plivo-signature-ma-v3")
_V2_HEADERS: Final = ("x-plivo-signature-v2", "x-plivo-signature-ma-v2")
HEADERS: Final = (*_V3_HEADERS, *_V2_HEADERS)


def check(context: VerificationContext, secret: str) -> None:
    """Check version 3 if it is there, else version 2."""
    request = context.request
    if signatures := _signatures(request, _V3_HEADERS):
        nonce = "." + request.header("x-plivo-signature-v3-nonce")
        signed = _with_parameters(request)
    else:
        signatures = _signatures(request, _V2_HEADERS)
        nonce = request.header("x-plivo-signature-v2-nonce")
        signed = ""
    candidates = [
        b64encode(hmac_digest(require_secret(secret), address + signed + nonce, "sha256"))
        for address in with_and_without_port(request.url.partition("?")[0])
    ]
    # All are compared, so that the time does not show which one matched.
    matches = [constant_time_equal(*pair) for pair in product(signatures, candidates)]
    if True not in matches:
        raise SignatureError("the signature does not match")


def _signatures(request: Request, names: Iterable[str]) -> list[str]:
    headers = ",".join(request.headers.get(name, "") for name in names)
    return [signature for part in headers.split(",") if (signature := part.strip())]


def _with_parameters(request: Request) -> str:
    """Return what version 3 signs after the path: the sorted query, and the sorted form."""
    query = "&".join(f"{name}={value}" for name, value in sorted(request.query))
    form = "".join(f"{name}{value}" for name, value in sorted(request.form))
    if not form:
        return "?" + query if query else ""
    return f"?{query}{'.' if query else ''}{form}"
