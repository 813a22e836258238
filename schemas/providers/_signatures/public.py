"""Signatures by a provider's private key, whose public half is configured.

Sources: SendGrid's docs, "Event Webhook security features" (ECDSA P-256 with SHA-256, DER);
Telnyx's docs, "Webhook fundamentals" (Ed25519); Postal's docs, "Webhooks", and its source (RSA).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from schemas.providers._signatures import shared
from schemas.providers._signatures.verification import SignatureError, from_base64, require_secret

if TYPE_CHECKING:
    from schemas.providers._signatures.verification import VerificationContext

_SENDGRID_HEADER_PREFIX: Final = "x-twilio-email-event-webhook-"
_POSTAL_HEADER: Final = "x-postal-signature"
_PEM_MARKER: Final = "-----"


def ec_key(secret: str) -> EllipticCurvePublicKey:
    """Return a P-256 public key from base64 DER or PEM. Raises `SignatureError` if it is none."""
    key = _public_key(secret)
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise SignatureError("the configured verification key is no P-256 public key")
    return key


def _public_key(secret: str) -> object:
    """Return the key in base64 DER or PEM, or None. Raises `SignatureError` if it is no base64."""
    pem_lines = require_secret(secret).strip().splitlines()
    text = "".join(line.strip() for line in pem_lines if not line.startswith(_PEM_MARKER))
    der = from_base64(text, "the configured verification key")
    try:
        return load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return None


def sendgrid(context: VerificationContext, secret: str) -> None:
    """Check SendGrid, which signs time and body."""
    signature = context.request.header(_SENDGRID_HEADER_PREFIX + "signature")
    timestamp = context.request.header(_SENDGRID_HEADER_PREFIX + "timestamp")
    der = from_base64(signature, "the signature")
    signed = timestamp.encode("utf-8", "surrogatepass") + context.request.body
    try:
        ec_key(secret).verify(der, signed, ECDSA(SHA256()))
    except InvalidSignature:
        raise SignatureError("the signature does not match") from None
    context.check_timestamp(timestamp)


def postal_secret(secret: str) -> RSAPublicKey | None:
    """Return Postal's RSA key, or None for a shared secret. Raises `SignatureError` for neither."""
    is_pem = require_secret(secret).strip().startswith(_PEM_MARKER)
    try:
        key = _public_key(secret)
    except SignatureError:
        key = None
    if isinstance(key, RSAPublicKey):
        return key
    if is_pem or key is not None:
        raise SignatureError("the configured verification key is no RSA public key")
    return None


def postal(context: VerificationContext, secret: str) -> None:
    """Check Postal, which signs the body, once with SHA-1 alone; or a shared secret."""
    key = postal_secret(secret)
    if key is None:
        shared.check(context, secret)
        return
    request = context.request
    newer = request.headers.get(_POSTAL_HEADER + "-256")
    signature = from_base64(newer or request.header(_POSTAL_HEADER), "the signature")
    algorithm = SHA256 if newer else SHA1
    try:
        key.verify(signature, request.body, PKCS1v15(), algorithm())
    except InvalidSignature:
        raise SignatureError("the signature does not match") from None


def ed25519_key(secret: str) -> Ed25519PublicKey:
    """Return an Ed25519 public key from base64. Raises `SignatureError` for anything else."""
    raw = from_base64(require_secret(secret).strip(), "the configured public key")
    try:
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise SignatureError("the configured public key is no Ed25519 key") from None


def telnyx(context: VerificationContext, secret: str) -> None:
    """Check Telnyx, which signs time and body with a bar between them."""
    signature = from_base64(context.request.header("telnyx-signature-ed25519"), "the signature")
    timestamp = context.request.header("telnyx-timestamp")
    signed = timestamp.encode("utf-8", "surrogatepass") + b"|" + context.request.body
    try:
        ed25519_key(secret).verify(signature, signed)
    except InvalidSignature:
        raise SignatureError("the signature does not match") from None
    context.check_timestamp(timestamp)
