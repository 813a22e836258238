"""Hooks that nobody has configured: refused by the same work, and with the same answer, as others.

So whoever calls made-up addresses learns neither which tenants there are nor their providers.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from processor.gateway.hooks import Hook
from processor.kafka.topics import feed_topic
from schemas.providers import adapters
from schemas.providers.signatures import SIGNATURE_TOLERANCE


def _ec_key() -> str:
    key = generate_private_key(SECP256R1()).public_key()
    return b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def _ed25519_key() -> str:
    key = Ed25519PrivateKey.generate().public_key()
    return b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def _topic() -> str:
    return f"arn:aws:sns:eu-west-1:{secrets.randbelow(10**12):012}:{secrets.token_hex(8)}"


def _svix_key() -> str:
    return b64encode(secrets.token_bytes(24)).decode()


#: What a secret has to be, by provider; of all others any text.
_SECRETS: Final[Mapping[str, Callable[[], str]]] = {
    "sendgrid": _ec_key,
    "telnyx": _ed25519_key,
    "resend": _svix_key,
    "ses": _topic,
    "aws_sms": _topic,
    "scaleway": _topic,
}


@cache
def decoy(provider: str) -> Hook:
    """Return a hook of a provider that no request can prove to be for, as nobody has its secret."""
    return Hook(
        tenant="",
        provider=provider,
        topic=feed_topic(adapters()[provider].CHANNEL, provider),
        secret=SecretStr(_SECRETS.get(provider, secrets.token_urlsafe)()),
        verified=True,
        tolerance=SIGNATURE_TOLERANCE,
    )
