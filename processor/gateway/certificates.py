"""The certificates that Amazon SNS signs with: fetched once, from Amazon alone, and kept."""

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

_MOST: Final = 16  # Amazon has one for a region, and changes it about yearly
_BYTES: Final = 64 * 1024
_SECONDS: Final = 5.0


class CertificateError(RuntimeError):
    """A certificate cannot be fetched now; later it may."""


class Certificates:
    """Certificates by address, as `schemas.providers.signatures.certificate_needed` gives it."""

    def __init__(self, fetch: Callable[[str], bytes] | None = None) -> None:
        self._fetch = fetch or fetched
        self._kept: dict[str, bytes] = {}
        self._one_at_a_time = asyncio.Lock()

    async def at(self, url: str) -> bytes:
        """Return a certificate (PEM). Raises `CertificateError`."""
        async with self._one_at_a_time:
            if url not in self._kept:
                try:
                    found = await asyncio.to_thread(self._fetch, url)
                except (OSError, ValueError) as error:
                    log.warning("sns_certificate_unavailable", url=url, error=str(error))
                    raise CertificateError(f"the certificate {url} cannot be fetched") from error
                if len(self._kept) >= _MOST:
                    del self._kept[next(iter(self._kept))]
                self._kept[url] = found
            return self._kept[url]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Amazon's address is checked, and stays what it is."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Refuse."""
        raise HTTPError(req.full_url, code, f"redirected: {msg} {newurl}", headers, fp)


def fetched(url: str) -> bytes:
    """Fetch a file over HTTPS. Raises `OSError`, or `ValueError` if it is too large."""
    if not url.startswith("https://"):
        raise ValueError("not an https address")
    opener = urllib.request.build_opener(_NoRedirects)
    with opener.open(url, timeout=_SECONDS) as reply:
        body: bytes = reply.read(_BYTES + 1)
    if len(body) > _BYTES:
        raise ValueError(f"larger than {_BYTES} bytes")
    return body
