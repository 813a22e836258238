"""Whether a webhook is its provider's: its signature, or a secret shared with the provider.

Pure functions for whoever receives webhooks (`sendlog gateway`): the clock and the certificates are
passed in. What is compared is compared in constant time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

from schemas.providers._signatures import (
    TOLERANCE,
    Call,
    Request,
    SignatureError,
    given,
    keyed,
    public,
    shared,
    sns,
    vonage,
)

__all__ = [
    "TOLERANCE", "Request", "SignatureError", "certificate_needed", "check_secret", "scheme",
    "verify",
]  # fmt: skip


class Scheme(NamedTuple):
    """How a provider shows that a webhook is its own."""

    what: str  # in words, with what is to be configured as the secret
    check: Callable[[Call, str], None]
    key: Callable[[str], object] = given  # raises `SignatureError` for a secret of no use


SHARED: Final = Scheme("Basic credentials or a bearer token", shared.check)
_SNS: Final = Scheme("SNS signature (topic ARN), or Basic credentials", sns.check, sns.key)
#: By provider; all others share a secret.
SCHEMES: Final[Mapping[str, Scheme]] = {
    "sendgrid": Scheme("ECDSA signature (verification key)", public.sendgrid, public.ec_key),
    "mailgun": Scheme("HMAC signature (webhook signing key)", keyed.mailgun),
    "mandrill": Scheme("HMAC signature (webhook key)", keyed.mandrill),
    "resend": Scheme("Svix signature (signing secret)", keyed.svix, keyed.svix_key),
    "ses": _SNS,
    "twilio": Scheme("HMAC signature (auth token)", keyed.twilio),
    "vonage": Scheme("JWT or sig (signature secret)", vonage.check),
    "telnyx": Scheme("Ed25519 signature (public key)", public.telnyx, public.ed25519_key),
    "aws_sms": _SNS,
}
#: What is said of a shape that no scheme foresaw; the error's own text might quote the request.
UNFORESEEN: Final = "the request has an unexpected shape"
_NONE: Final[Mapping[str, bytes]] = MappingProxyType({})
_BROKEN: Final = (
    ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError,
)  # fmt: skip


def scheme(provider: str) -> Scheme:
    """Return how a provider's webhooks are verified."""
    return SCHEMES.get(provider, SHARED)


def verify(
    provider: str,
    request: Request,
    secret: str,
    now: datetime,
    *,
    tolerance: timedelta = TOLERANCE,
    certificates: Mapping[str, bytes] = _NONE,
) -> None:
    """Return if a webhook is its provider's.

    `secret` is what `scheme(provider).what` names; `certificates` holds the one that
    `certificate_needed` names, as PEM. Raises `SignatureError` in every other case: it names what
    is missing or wrong, and shows neither the secret nor anything of the request.
    """
    call = Call(request=request, now=now, tolerance=tolerance, certificates=certificates)
    try:
        scheme(provider).check(call, secret)
    except SignatureError:
        raise
    except _BROKEN:
        raise SignatureError(UNFORESEEN) from None


def check_secret(provider: str, secret: str) -> None:
    """Raise `SignatureError` if no request could ever match a secret, as when it is no key."""
    scheme(provider).key(secret)


def certificate_needed(provider: str, request: Request, secret: str) -> str:
    """Return the address of the certificate that `verify` needs, one of Amazon's; '' if none.

    Raises `SignatureError` if the request will not do whatever the certificate.
    """
    if scheme(provider) is not _SNS or not sns.is_topic(secret):
        return ""
    try:
        return sns.envelope(request, secret)["SigningCertURL"]
    except SignatureError:
        raise
    except _BROKEN:
        raise SignatureError(UNFORESEEN) from None
