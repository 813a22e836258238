"""The signature of a request to Amazon's APIs (Signature Version 4), of one without body or query.

The source is "Create a signed AWS API request" of the IAM User Guide.
"""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from hashlib import sha256
from hmac import digest
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SIGNED_HEADERS: Final = "host;x-amz-date"


class SigningKey(NamedTuple):
    """An access key, and the region and service it is used for, as Amazon's endpoints name them."""

    id: str
    secret: str
    region: str
    service: str


def signed_headers(method: str, url: str, key: SigningKey, at: datetime) -> dict[str, str]:
    """Return the headers that sign a request to a URL at a time in UTC; its path is quoted."""
    time = at.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/{key.region}/{key.service}/aws4_request"
    parts = urlsplit(url)
    request = "\n".join([
        method, quote(parts.path), "", f"host:{parts.netloc}", f"x-amz-date:{time}", "",
        _SIGNED_HEADERS, sha256().hexdigest(),
    ])  # fmt: skip
    text = "\n".join([_ALGORITHM, time, scope, sha256(request.encode()).hexdigest()])
    secret = reduce(
        lambda secret, part: digest(secret, part.encode(), "sha256"),
        scope.split("/"),
        f"AWS4{key.secret}".encode(),
    )
    signature = digest(secret, text.encode(), "sha256").hex()
    credential = f"Credential={key.id}/{scope}"
    return {
        "X-Amz-Date": time,
        "Authorization": (
            f"{_ALGORITHM} {credential}, SignedHeaders={_SIGNED_HEADERS}, Signature={signature}"
        ),
    }
