"""Embed tokens as a host signs them, apart from the code under test."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time


def encode(content):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def sign(claims, secret, header):
    """Return a token with these claims and this header."""
    signed = f"{encode(header)}.{encode(claims)}"
    return f"{signed}.{encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


def token_for(api, key, record_id="F-1", *, seconds=300, secret="", **claims):
    """Return a token of a key (as stored) for a family of tenant a; `secret` is another's."""
    now = int(time.time())
    whole = {
        "tenant": "a", "record_type": "family", "record_id": record_id, "actor": "Ann Clark",
        "scopes": ["read"], "origins": ["https://app.example.com"], "iat": now - 10,
        "exp": now - 10 + seconds,
    } | claims  # fmt: skip
    secret = secret or api.app.state.app_state.embed_tokens.secret_of(key.id)
    return sign(whole, secret, {"alg": "HS256", "typ": "JWT", "kid": key.id})
