"""Signatures of commands: whoever may write to their topic, but has no secret, commands nothing.

A signature stands in a header of the record, as `v1 KEY_ID MILLISECONDS HEX`: which secret made it,
when, and an HMAC-SHA256 of the topic, that time, and the record's key and value.
"""

from __future__ import annotations

import hmac
from typing import Final

SIGNATURE_HEADER: Final = "sendlog-signature"
#: A broker takes a command so soon after it was signed, or it is a copy of an old one. An id that
#: was decided on is known for far longer.
MAX_SIGNATURE_AGE_MS: Final = 600_000
_VERSION: Final = "v1"
_SIGNED_TOPIC: Final = b"delivery.commands"
_KEY_ID_DIGITS: Final = 8


class CommandSignatureError(ValueError):
    """A command's signature does not hold; the text says why, and names no secret.

    `reason` is one of few words, for a metric.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def secrets_of(text: str) -> list[bytes]:
    """Return the secrets of a setting, which has white space between them: the first one signs."""
    return [secret.encode() for secret in text.split()]


def key_id(secret: bytes) -> str:
    """Return what names a secret in a signature: 8 hex digits, which do not give it away."""
    return hmac.digest(secret, b"sendlog key id", "sha256").hex()[:_KEY_ID_DIGITS]


def sign_command(secret: bytes, key: bytes, value: bytes, signed_ms: int) -> tuple[str, bytes]:
    """Return the header of a command's record; `signed_ms` is now, in milliseconds since 1970."""
    digest = _digest(secret, key, value, signed_ms)
    return SIGNATURE_HEADER, f"{_VERSION} {key_id(secret)} {signed_ms} {digest}".encode()


def check_signature(
    secrets: list[bytes], header: str, key: bytes, value: bytes, appended_ms: int
) -> None:
    """Raise `CommandSignatureError` unless one of the secrets signed this a moment ago.

    `appended_ms` is when the broker took the record, by its own clock. An empty header is none.
    """
    if not header:
        raise CommandSignatureError("unsigned", "the command is not signed")
    version, _, rest = header.partition(" ")
    parts = rest.split(" ")
    if version != _VERSION or len(parts) != 3 or not _is_time(parts[1]):
        raise CommandSignatureError("malformed", "the command's signature is none that is known")
    name, signed_ms, digest = parts[0], int(parts[1]), parts[2]
    secret = next((each for each in secrets if key_id(each) == name), None)
    if secret is None:
        raise CommandSignatureError(
            "unknown_key", f"no secret is known as {name!r}, which signed it"
        )
    if not hmac.compare_digest(_digest(secret, key, value, signed_ms).encode(), digest.encode()):
        raise CommandSignatureError("forged", "the command is not what was signed")
    if abs(appended_ms - signed_ms) > MAX_SIGNATURE_AGE_MS:
        raise CommandSignatureError(
            "expired",
            f"the command was signed {(appended_ms - signed_ms) / 1000:,.0f} s before the broker"
            f" had it, and the limit is {MAX_SIGNATURE_AGE_MS / 1000:,.0f} s: ask for it again",
        )


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(10**14))


def _digest(secret: bytes, key: bytes, value: bytes, signed_ms: int) -> str:
    signed = b"\n".join((_SIGNED_TOPIC, b"%d" % signed_ms, b"%d" % len(key), key + value))
    return hmac.digest(secret, signed, "sha256").hex()
