"""Signatures by a secret key that both sides hold: of Mailgun, Resend (Svix), Twilio and others.

Sources: Mailgun's docs, "Securing webhooks"; MailerSend's and Mailtrap's docs, "Webhooks"; Svix's
docs, "Verifying webhooks manually", and the Standard Webhooks specification; Twilio's docs,
"Webhooks security"; Mandrill's docs, "How to authenticate webhook requests"; ZeptoMail's help,
"Webhooks"; Sinch's docs, "Conversation API: Callbacks" (validating the signature).
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_to_bytes

from pydantic_core import from_json

from schemas.providers._multipart import multipart_fields
from schemas.providers._signatures.verification import (
    SignatureError,
    constant_time_equal,
    from_base64,
    hmac_digest,
    require_match,
    require_secret,
    sha256,
    with_and_without_port,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from schemas.providers._signatures.verification import Request, VerificationContext

#: The prefix of a Svix key as a dashboard shows it; what follows is base64.
SVIX_PREFIX: Final = "whsec_"
#: Prefixes of Svix's headers, and of the Standard Webhooks specification that it became.
SVIX_HEADER_PREFIXES: Final = ("svix", "webhook")
_SVIX_VERSION: Final = "v1"
_SINCH_HEADER: Final = "x-sinch-webhook-signature"
SINCH_HEADERS: Final = (_SINCH_HEADER,)
_SINCH_ALGORITHM: Final = "hmacsha256"
_BODY_HASH_PARAMETER: Final = "bodySHA256"
_ZEPTOMAIL_ALGORITHM: Final = "HmacSHA256"


def hex_of_body(header: str) -> Callable[[VerificationContext, str], None]:
    """Return the check of a body's HMAC-SHA256, which a header holds in hexadecimal.

    Nothing else is signed, and no time: an old webhook can be sent again, and counts once.
    """

    def check(context: VerificationContext, secret: str) -> None:
        signature = context.request.header(header)
        expected = hmac_digest(require_secret(secret), context.request.body, "sha256").hex()
        require_match(signature, expected)

    return check


def mailgun(context: VerificationContext, secret: str) -> None:
    """Check Mailgun, which signs a time and a token only; legacy pushes have form fields.

    An event of a subaccount is signed by its own account's key and by the primary account's.
    """
    fields = _mailgun_fields(context.request)
    timestamp, token, *signatures = (
        str(fields.get(name) or "")
        for name in ("timestamp", "token", "signature", "parent-signature")
    )
    if not (timestamp and token and any(signatures)):
        raise SignatureError("the body has to hold timestamp, token and signature")
    expected = hmac_digest(require_secret(secret), timestamp + token, "sha256").hex()
    require_match(expected, *signatures)
    context.check_timestamp(timestamp)


def mailgun_token(request: Request) -> str:
    """Return the token that Mailgun signed in place of the body, of a verified request."""
    return str(_mailgun_fields(request)["token"])


def _mailgun_fields(request: Request) -> Mapping[str, object]:
    start = request.body.lstrip()[:2]
    fields: object
    if start.startswith(b"{"):
        fields = from_json(request.body).get("signature")
    elif start == b"--":
        fields = multipart_fields(request.body)
    else:
        fields = dict(request.form)
    if not isinstance(fields, dict):
        raise SignatureError("the body has no signature")
    return fields


def zeptomail(context: VerificationContext, secret: str) -> None:
    """Check ZeptoMail, which signs the body as it is, or as it reads when decoded as a form.

    The time beside the signature is not signed, so it proves nothing and is not read.
    """
    request = context.request
    parts = (part.partition("=") for part in request.header("producer-signature").split(";"))
    fields = {name.strip(): value.strip() for name, _, value in parts}
    if fields.get("s-algorithm", "") != _ZEPTOMAIL_ALGORITHM:
        raise SignatureError(f"the signature is missing, or not made with {_ZEPTOMAIL_ALGORITHM}")
    bodies = (request.body, unquote_to_bytes(request.body.replace(b"+", b" ")))
    digests = [b64encode(hmac_digest(require_secret(secret), body, "sha256")) for body in bodies]
    require_match(unquote(fields.get("s", "")), *digests)


def svix_key(secret: str) -> bytes:
    """Return the key's bytes. Raises `SignatureError` if it is not base64."""
    return from_base64(require_secret(secret).removeprefix(SVIX_PREFIX), "the configured secret")


def svix(context: VerificationContext, secret: str) -> None:
    """Check Svix, which signs id, time and body; while keys change there are several signatures."""
    headers = context.request.headers
    prefix = next(
        (prefix for prefix in SVIX_HEADER_PREFIXES if headers.get(f"{prefix}-id")),
        SVIX_HEADER_PREFIXES[0],
    )
    message_id, timestamp, header = (
        context.request.header(f"{prefix}-{name}") for name in ("id", "timestamp", "signature")
    )
    signed = f"{message_id}.{timestamp}.".encode() + context.request.body
    expected = b64encode(hmac_digest(svix_key(secret), signed, "sha256"))
    versions = [signature.partition(",") for signature in header.split()]
    signatures = [value for version, _, value in versions if version == _SVIX_VERSION]
    if not signatures:
        raise SignatureError(f"the header {prefix}-signature holds none of version {_SVIX_VERSION}")
    require_match(expected, *signatures)
    context.check_timestamp(timestamp)


def sinch(context: VerificationContext, secret: str) -> None:
    """Check Sinch, which signs body, nonce and time."""
    request = context.request
    signature, nonce, timestamp = (
        request.header(_SINCH_HEADER + suffix) for suffix in ("", "-nonce", "-timestamp")
    )
    algorithm = request.headers.get(_SINCH_HEADER + "-algorithm", _SINCH_ALGORITHM)
    if algorithm.lower() != _SINCH_ALGORITHM:
        raise SignatureError("the signature is of no known algorithm")
    signed = request.body + f".{nonce}.{timestamp}".encode("utf-8", "surrogatepass")
    expected = b64encode(hmac_digest(require_secret(secret), signed, "sha256"))
    require_match(signature, expected)
    context.check_timestamp(timestamp)


def twilio(context: VerificationContext, secret: str) -> None:
    """Check Twilio, which signs its URL with the form's fields, for JSON with the body's hash.

    It calls a URL with the names of its query in alphabetical order, but signs it as it was set: so
    they have to be set in that order.
    """
    request = context.request
    signature = request.header("x-twilio-signature")
    hashes = [value for name, value in request.query if name == _BODY_HASH_PARAMETER]
    if hashes:
        if not constant_time_equal(hashes[0].lower(), sha256(request.body)):
            raise SignatureError(f"the body does not match {_BODY_HASH_PARAMETER}")
        fields = ""
    else:
        fields = _joined(sorted(set(request.form)))
    # Whether a port is part of what was signed differs from product to product.
    require_match(
        signature, *(_signed(secret, url + fields) for url in with_and_without_port(request.url))
    )


def mandrill(context: VerificationContext, secret: str) -> None:
    """Check Mandrill, which signs its URL with the form's fields."""
    request = context.request
    signature = request.header("x-mandrill-signature")
    expected = _signed(secret, request.url + _joined(sorted(request.form)))
    require_match(signature, expected)


def _signed(secret: str, text: str) -> bytes:
    return b64encode(hmac_digest(require_secret(secret), text, "sha1"))


def _joined(fields: Iterable[tuple[str, str]]) -> str:
    return "".join(name + value for name, value in fields)
