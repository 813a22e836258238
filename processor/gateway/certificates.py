"""The certificates that SNS signs with: fetched once, only from their signer, and cached."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Final
from urllib.error import HTTPError

from processor.logging import get

if TYPE_CHECKING:
    from http.client import HTTPMessage

log = get(__name__)

#: There is one for each region, which is renewed about once a year.
MAX_CERTIFICATES: Final = 16
MAX_CERTIFICATE_BYTES: Final = 64 * 1024
FETCH_TIMEOUT_SECONDS: Final = 5.0


class CertificateError(RuntimeError):
    """A certificate cannot be fetched now; trying later may help."""


class Certificates:
    """Certificates by URL, as `schemas.providers.signatures.certificate_needed` returns it."""

    def __init__(self, fetch: Callable[[str], bytes] | None = None) -> None:
        self._fetch = fetch or fetch_certificate
        self._cached: dict[str, bytes] = {}
        self._lock = asyncio.Lock()

    async def get(self, url: str) -> bytes:
        """Return a certificate (PEM). Raises `CertificateError`."""
        async with self._lock:
            if url not in self._cached:
                try:
                    certificate = await asyncio.to_thread(self._fetch, url)
                except (OSError, ValueError) as error:
                    log.warning("sns_certificate_unavailable", url=url, error=str(error))
                    raise CertificateError(f"the certificate {url} cannot be fetched") from error
                if len(self._cached) >= MAX_CERTIFICATES:
                    del self._cached[next(iter(self._cached))]
                self._cached[url] = certificate
            return self._cached[url]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: the URL was checked to be the signer's, another one would not be."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Raise `HTTPError`."""
        raise HTTPError(req.full_url, code, f"redirected: {msg} {newurl}", headers, fp)


def fetch_certificate(url: str) -> bytes:
    """Fetch a file over HTTPS. Raises `OSError`, or `ValueError` if it is too large."""
    if not url.startswith("https://"):
        raise ValueError("not an https address")
    opener = urllib.request.build_opener(_NoRedirects)
    with opener.open(url, timeout=FETCH_TIMEOUT_SECONDS) as reply:
        body: bytes = reply.read(MAX_CERTIFICATE_BYTES + 1)
    if len(body) > MAX_CERTIFICATE_BYTES:
        raise ValueError(f"larger than {MAX_CERTIFICATE_BYTES} bytes")
    return body
