"""ID tokens of an OpenID provider: verified, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, extract_compact

#: Signatures that only the provider can make; never `none`, nor one by a secret that is shared.
SIGNATURE_ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "Ed25519",
)  # fmt: skip
#: By so much the provider's clock and ours may differ.
MAX_CLOCK_SKEW_SECONDS: Final = 60
#: Somebody in hundreds of groups has a long token.
MAX_TOKEN_BYTES: Final = 65_536

PublicKey = RSAKey | ECKey | OKPKey


class IdTokenError(ValueError):
    """A token that is not to be believed; the text says what is wrong, without a value of it."""


class _Registry(JWSRegistry):
    max_header_length = MAX_TOKEN_BYTES
    max_payload_length = MAX_TOKEN_BYTES


_REGISTRY: Final = _Registry(algorithms=list(SIGNATURE_ALGORITHMS), strict_check_header=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedToken:
    """Who has to have issued a token, for whom, and in which sign-in."""

    issuer: str
    client_id: str
    nonce: str


def public_keys(document: Any) -> list[PublicKey]:
    """Return the keys of a key set (RFC 7517) that may sign; those of other kinds are left out."""
    keys: list[PublicKey] = []
    entries = document.get("keys") if isinstance(document, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        try:
            key = JWKRegistry.import_key(entry)
            is_for_signing = entry.get("use", "sig") == "sig"
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if isinstance(key, PublicKey) and is_for_signing:
            keys.append(key)
    return keys


def verified_claims(
    token: str,
    keys_of: Callable[[object], Iterable[PublicKey]],
    expected: ExpectedToken,
    access_token: object = None,
) -> dict[str, Any]:
    """Return the claims of a token, by OpenID Connect Core 1.0, section 3.1.3.7.

    `keys_of` gives the keys with an id, or all for None. Raises `IdTokenError`, and as `keys_of`
    does.
    """
    try:
        header = extract_compact(token.encode(), registry=_REGISTRY).headers()
    except (JoseError, ValueError, TypeError, RecursionError):
        raise IdTokenError("it is no token") from None
    if header.get("alg") not in SIGNATURE_ALGORITHMS:
        raise IdTokenError("its algorithm is none that is taken")
    verified = _verify(token, keys_of(header.get("kid")))
    options = {
        "iss": {"essential": True, "value": expected.issuer},
        "aud": {"essential": True, "value": expected.client_id},
        "sub": {"essential": True},
    }
    parameters = {
        "nonce": expected.nonce, "client_id": expected.client_id, "access_token": access_token,
    }  # fmt: skip
    claims = CodeIDToken(verified.claims, verified.header, options, parameters)
    try:
        claims.validate(leeway=MAX_CLOCK_SKEW_SECONDS)
    except JoseError as error:
        raise IdTokenError(f"{error.error} {getattr(error, 'claim', '')}".strip()) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise IdTokenError("a claim has a value of another type") from None
    return dict(claims)


def _verify(token: str, keys: Iterable[PublicKey]) -> jwt.Token:
    for key in keys:
        try:
            return jwt.decode(token, key, registry=_REGISTRY)
        # By another key, for one of another kind, or of claims that are none.
        except (JoseError, ValueError, TypeError, RecursionError):
            continue
    raise IdTokenError("its signature is by no key of the provider")
