"""The certificates that SNS signs with: fetched once, only from their signer, and cached."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from time import monotonic
from typing import IO, TYPE_CHECKING, Final, TypeVar
from urllib.error import HTTPError

from processor.logging import get

if TYPE_CHECKING:
    from http.client import HTTPMessage

log = get(__name__)

#: There is one for each region, which is renewed about once a year.
MAX_CERTIFICATES: Final = 16
MAX_CERTIFICATE_BYTES: Final = 64 * 1024
FETCH_TIMEOUT_SECONDS: Final = 5.0
#: At once, of different addresses.
MAX_FETCHES: Final = 8
#: For which an address that failed is not tried again.
FAILURE_SECONDS: Final = 60.0
MAX_FAILURES: Final = 1_000
Value = TypeVar("Value")


class CertificateError(RuntimeError):
    """A certificate cannot be fetched now; trying later may help."""


class Certificates:
    """Certificates by URL, as `schemas.providers.signatures.certificate_needed` returns it.

    One that is here waits for no other; one that is not is fetched once for all who wait for it,
    and not again for a minute if that fails. `clock` gives seconds.
    """

    def __init__(
        self,
        fetch: Callable[[str], bytes] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._fetch = fetch or fetch_certificate
        self._clock = clock
        self._cached: dict[str, bytes] = {}
        self._failed_at: dict[str, float] = {}
        self._fetches: dict[str, asyncio.Task[bytes]] = {}

    async def get(self, url: str) -> bytes:
        """Return a certificate (PEM). Raises `CertificateError`."""
        if url in self._cached:
            return self._cached[url]
        failed_at = self._failed_at.get(url, float("-inf"))
        fetch = self._fetches.get(url)
        if self._clock() - failed_at < FAILURE_SECONDS or (
            fetch is None and len(self._fetches) >= MAX_FETCHES
        ):
            raise CertificateError(f"the certificate {url} cannot be fetched now")
        if fetch is None:
            fetch = self._fetches[url] = asyncio.create_task(self._fetched(url))
        # Whoever waits may go: others wait for the same.
        return await asyncio.shield(fetch)

    async def _fetched(self, url: str) -> bytes:
        try:
            certificate = await asyncio.to_thread(self._fetch, url)
        except (OSError, ValueError) as error:
            log.warning("sns_certificate_unavailable", url=url, error=str(error))
            _remember(self._failed_at, url, self._clock(), MAX_FAILURES)
            raise CertificateError(f"the certificate {url} cannot be fetched") from error
        finally:
            del self._fetches[url]
        _remember(self._cached, url, certificate, MAX_CERTIFICATES)
        return certificate


def _remember(memory: dict[str, Value], url: str, value: Value, limit: int) -> None:
    """Keep a value, in place of the oldest if there are too many."""
    memory.pop(url, None)
    if len(memory) >= limit:
        del memory[next(iter(memory))]
    memory[url] = value


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
