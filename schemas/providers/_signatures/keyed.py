"""Signatures by a secret key that both sides hold: Mailgun, Resend (Svix), Twilio, Mandrill.

Sources: Mailgun's docs, "Securing webhooks"; Svix's docs, "Verifying webhooks manually", and the
Standard Webhooks specification; Twilio's docs, "Webhooks security"; Mandrill's docs, "How to
authenticate webhook requests".
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pydantic_core import from_json

from schemas.providers import mailgun as adapter
from schemas.providers._signatures import SignatureError, digest, from_base64, given, match, sha256
from schemas.providers._signatures import same as equal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.providers._signatures import Call

#: The prefix of a Svix key as a dashboard shows it; what follows is base64.
SVIX_PREFIX: Final = "whsec_"
#: Svix's headers, and those of the specification that it became.
SVIX_NAMES: Final = ("svix", "webhook")
_SVIX_VERSION: Final = "v1"
_BODY_HASH: Final = "bodySHA256"
_PORTS: Final = {"https": 443, "http": 80}


def mailgun(call: Call, secret: str) -> None:
    """Mailgun signs a time and a token and nothing else; legacy pushes have form fields."""
    request = call.request
    start = request.body.lstrip()[:2]
    fields: object
    if start.startswith(b"{"):
        fields = from_json(request.body).get("signature")
    elif start == b"--":
        fields = adapter.multipart(request.body, request.headers)
    else:
        fields = dict(request.form)
    if not isinstance(fields, dict):
        raise SignatureError("the body has no signature")
    timestamp, token, signature = (
        str(fields.get(name) or "") for name in ("timestamp", "token", "signature")
    )
    if not (timestamp and token and signature):
        raise SignatureError("the body has to hold timestamp, token and signature")
    match(signature, digest(given(secret), timestamp + token, "sha256").hex())
    call.recent(timestamp)


def svix_key(secret: str) -> bytes:
    """Return the key's bytes. Raises `SignatureError` if it is not base64."""
    return from_base64(given(secret).removeprefix(SVIX_PREFIX), "the configured secret")


def svix(call: Call, secret: str) -> None:
    """Svix signs id, time and body; the header may hold several signatures while keys change."""
    headers = call.request.headers
    name = next((name for name in SVIX_NAMES if headers.get(f"{name}-id")), SVIX_NAMES[0])
    parts = [call.request.header(f"{name}-{part}") for part in ("id", "timestamp", "signature")]
    signed = f"{parts[0]}.{parts[1]}.".encode() + call.request.body
    wanted = b64encode(digest(svix_key(secret), signed, "sha256"))
    versions = [signature.partition(",") for signature in parts[2].split()]
    ours = [value for version, _, value in versions if version == _SVIX_VERSION]
    if not ours:
        raise SignatureError(f"the header {name}-signature holds none of version {_SVIX_VERSION}")
    if not any([equal(each, wanted) for each in ours]):  # noqa: C419 - no early end
        raise SignatureError("the signature does not match")
    call.recent(parts[1])


def twilio(call: Call, secret: str) -> None:
    """Twilio signs its URL with the form's fields, or for JSON a URL with the body's hash."""
    request = call.request
    signature = request.header("x-twilio-signature")
    hashes = [value for name, value in request.query if name == _BODY_HASH]
    if hashes:
        if not equal(hashes[0].lower(), sha256(request.body)):
            raise SignatureError(f"the body does not match {_BODY_HASH}")
        fields = ""
    else:
        fields = _joined(sorted(set(request.form)))
    # Whether a standard port is part of what was signed differs from product to product.
    match(
        signature, *(_signed(secret, url + fields) for url in _with_and_without_port(request.url))
    )


def mandrill(call: Call, secret: str) -> None:
    """Mandrill signs its URL with the form's fields."""
    request = call.request
    signature = request.header("x-mandrill-signature")
    match(signature, _signed(secret, request.url + _joined(sorted(request.form))))


def _signed(secret: str, text: str) -> bytes:
    return b64encode(digest(given(secret), text, "sha1"))


def _joined(fields: Iterable[tuple[str, str]]) -> str:
    return "".join(name + value for name, value in fields)


def _with_and_without_port(url: str) -> list[str]:
    parts = urlsplit(url)
    port = _PORTS.get(parts.scheme)
    host = parts.netloc.removesuffix(f":{port}")
    if parts.port not in {None, port}:
        return [url]
    rest = url.partition("://")[2].removeprefix(parts.netloc)
    return [f"{parts.scheme}://{host}{rest}", f"{parts.scheme}://{host}:{port}{rest}"]
