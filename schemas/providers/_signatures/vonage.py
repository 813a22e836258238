"""Vonage: a JWT of the Messages API, or the parameter `sig` of the SMS API's receipts.

A JWT (HS256) has the time in `iat` and the hash of the body in `payload_hash`; of a GET it is the
hash of the query as a JSON object. `sig` is a digest of all other parameters in alphabetical order;
which digest is an account's setting, and shows in its length. Sources: Vonage's docs, "Validating
signed webhooks" and "Signing messages".
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from pydantic_core import from_json

from schemas.providers._signatures.jwt import claimed_time, verified_claims
from schemas.providers._signatures.verification import (
    SignatureError,
    constant_time_equal,
    hmac_digest,
    require_match,
    require_secret,
    sha256,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.providers._signatures.verification import Request, VerificationContext

#: HMACs by the length of their hexadecimal digits; 32 are also those of the plain MD5.
_HMAC_ALGORITHMS: Final = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_MD5_DIGITS: Final = 32


def check(context: VerificationContext, secret: str) -> None:
    """Accept a JWT if there is one, else the parameter `sig`."""
    scheme, _, token = context.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        _check_jwt(context, token.strip(), require_secret(secret))
        return
    parameters = _parameters(context.request)
    signature = parameters.pop("sig", "")
    if not signature:
        raise SignatureError("there is neither a bearer token nor the parameter sig")
    _check_sig(context, parameters, signature.lower(), require_secret(secret))


def _check_jwt(context: VerificationContext, token: str, secret: str) -> None:
    claims = verified_claims(token, secret)
    context.check_time(claimed_time(claims, "iat"))
    if not constant_time_equal(
        str(claims.get("payload_hash") or "").lower(), _payload_hash(context.request)
    ):
        raise SignatureError("the body does not match the token's payload_hash")


def _payload_hash(request: Request) -> str:
    if request.body or request.method == "POST":
        return sha256(request.body)
    query = json.dumps(dict(request.query), separators=(",", ":"), ensure_ascii=False)
    return sha256(query.encode("utf-8", "surrogatepass"))


def _check_sig(
    context: VerificationContext, parameters: Mapping[str, str], signature: str, secret: str
) -> None:
    algorithm = _HMAC_ALGORITHMS.get(len(signature))
    if algorithm is None:
        raise SignatureError("the parameter sig is of no known kind")
    # A value cannot look like a further parameter.
    text = "".join(
        f"&{name}={value.replace('&', '_').replace('=', '_')}"
        for name, value in sorted(parameters.items())
    )
    candidates = [hmac_digest(secret, text, algorithm).hex()]
    if len(signature) == _MD5_DIGITS:
        plain = (text + secret).encode("utf-8", "surrogatepass")
        candidates.append(hashlib.md5(plain).hexdigest())  # noqa: S324 - what Vonage calls md5hash
    require_match(signature, *candidates)
    if "timestamp" not in parameters:
        raise SignatureError("the parameter timestamp is missing")
    context.check_timestamp(parameters["timestamp"])


def _parameters(request: Request) -> dict[str, str]:
    """Return the parameters of the query, and of a body that is a form or a JSON object."""
    parameters = dict(request.query)
    if request.body.lstrip()[:1] == b"{":
        body = from_json(request.body)
        parameters |= {name: "" if value is None else str(value) for name, value in body.items()}
    else:
        parameters |= dict(request.form)
    return parameters
