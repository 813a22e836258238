"""Checks that a webhook is its provider's: by its signature, or a secret shared with the provider.

Pure functions for whoever receives webhooks (`sendlog gateway`): the clock and the certificates are
passed in. Secrets and signatures are compared in constant time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

from schemas.providers._signatures import (
    keyed,
    messagebird,
    plivo,
    public,
    shared,
    sns,
    vonage,
)
from schemas.providers._signatures.shared import without_secret
from schemas.providers._signatures.verification import (
    SIGNATURE_TOLERANCE,
    Request,
    SignatureError,
    VerificationContext,
    require_secret,
)

__all__ = [
    "SIGNATURE_TOLERANCE", "Request", "SignatureError", "certificate_needed", "check_secret",
    "scheme", "signed_token", "verify", "without_secret",
]  # fmt: skip


class Scheme(NamedTuple):
    """How a provider shows that a webhook is its own.

    `description` says it in words, with what is to be configured as the secret. `parse_secret`
    raises `SignatureError` for a secret that cannot be used.
    """

    description: str
    check: Callable[[VerificationContext, str], None]
    parse_secret: Callable[[str], object] = require_secret


SHARED_SECRET: Final = Scheme("Basic credentials, bearer token or ?secret=", shared.check)
_SNS: Final = Scheme("SNS signature (topic ARN), or Basic credentials", sns.check, sns.parse_secret)
#: By provider; all others share a secret.
SCHEMES: Final[Mapping[str, Scheme]] = {
    "sendgrid": Scheme("ECDSA signature (verification key)", public.sendgrid, public.ec_key),
    "mailgun": Scheme("HMAC signature (webhook signing key)", keyed.mailgun),
    "mailersend": Scheme("HMAC signature (signing secret)", keyed.hex_of_body("signature")),
    "mailtrap": Scheme("HMAC signature (signing secret)", keyed.hex_of_body("mailtrap-signature")),
    "mandrill": Scheme("HMAC signature (webhook key)", keyed.mandrill),
    "postal": Scheme(
        "RSA signature (public key), or Basic credentials", public.postal, public.postal_secret
    ),
    "resend": Scheme("Svix signature (signing secret)", keyed.svix, keyed.svix_key),
    "scaleway": _SNS,
    "ses": _SNS,
    "messagebird": Scheme(
        "JWT or HMAC signature (signing key), or Basic credentials",
        shared.or_signature(messagebird.HEADERS, messagebird.check),
    ),
    "plivo": Scheme(
        "HMAC signature (auth token), or Basic credentials",
        shared.or_signature(plivo.HEADERS, plivo.check),
    ),
    "sinch": Scheme(
        "HMAC signature (webhook secret), or Basic credentials",
        shared.or_signature(keyed.SINCH_HEADERS, keyed.sinch),
    ),
    "twilio": Scheme("HMAC signature (auth token)", keyed.twilio),
    "vonage": Scheme("JWT or sig (signature secret)", vonage.check),
    "telnyx": Scheme("Ed25519 signature (public key)", public.telnyx, public.ed25519_key),
    "aws_sms": _SNS,
    "zeptomail": Scheme("HMAC signature (authentication key)", keyed.zeptomail),
}
#: The text for a shape that no scheme foresaw; the error's own text might quote the request.
UNEXPECTED_SHAPE: Final = "the request has an unexpected shape"
_NO_CERTIFICATES: Final[Mapping[str, bytes]] = MappingProxyType({})
_SHAPE_ERRORS: Final = (
    ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError,
)  # fmt: skip


def scheme(provider: str) -> Scheme:
    """Return how a provider's webhooks are verified."""
    return SCHEMES.get(provider, SHARED_SECRET)


def verify(
    provider: str,
    request: Request,
    secret: str,
    now: datetime,
    *,
    tolerance: timedelta = SIGNATURE_TOLERANCE,
    certificates: Mapping[str, bytes] = _NO_CERTIFICATES,
) -> None:
    """Return nothing if a webhook is its provider's, and raise if not.

    `secret` is what `scheme(provider).description` names; `certificates` holds the one that
    `certificate_needed` names, as PEM. Raises `SignatureError`, which names what is missing or
    wrong, and shows neither the secret nor anything of the request.
    """
    context = VerificationContext(
        request=request, now=now, tolerance=tolerance, certificates=certificates
    )
    try:
        scheme(provider).check(context, secret)
    except SignatureError:
        raise
    except _SHAPE_ERRORS:
        raise SignatureError(UNEXPECTED_SHAPE) from None


def signed_token(provider: str, request: Request) -> str:
    """Return what was signed in place of a verified request's body; '' if the body was signed.

    Whoever knows such a token could send it again with any body: so it is good for one body only.
    """
    return keyed.mailgun_token(request) if provider == "mailgun" else ""


def check_secret(provider: str, secret: str) -> None:
    """Raise `SignatureError` if no request could ever match a secret, for it is no key."""
    scheme(provider).parse_secret(secret)


def certificate_needed(provider: str, request: Request, secret: str) -> str:
    """Return the address of the certificate of SNS that `verify` needs; '' if it needs none.

    Raises `SignatureError` if the request is refused whatever the certificate.
    """
    if scheme(provider) is not _SNS or not sns.is_topic(secret):
        return ""
    try:
        return sns.envelope(request, secret)["SigningCertURL"]
    except SignatureError:
        raise
    except _SHAPE_ERRORS:
        raise SignatureError(UNEXPECTED_SHAPE) from None
