"""The body of a request: read up to a limit, and unpacked if it is compressed.

All bodies together have a budget, and one client has a quarter of it: so whoever sends many large
or slow ones takes neither the memory nor the place of others.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from starlette.requests import Request

from processor.gateway.answers import RefusedError, temporary_refusal

BODY_TIMEOUT_SECONDS: Final = 30.0
#: Without a byte of the body.
PAUSE_TIMEOUT_SECONDS: Final = 10.0
MAX_HELD_BYTES: Final = 64 * 1024 * 1024
#: Of a budget, for the bodies of one address.
MAX_ADDRESS_SHARE: Final = 1 / 4
_GZIP_WBITS: Final = 31


class HeldBody:
    """What one request holds of a budget."""

    def __init__(self, budget: BodyBudget, address: str) -> None:
        self._budget, self._address, self.byte_count = budget, address, 0

    def add(self, byte_count: int) -> None:
        """Hold more. Raises `RefusedError` (503) if there is no room for it."""
        self._budget.add(self._address, byte_count)
        self.byte_count += byte_count


class BodyBudget:
    """The bytes of bodies that are held until they are published, by the address they came from."""

    def __init__(self, max_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held_bytes: Counter[str] = Counter()

    @contextmanager
    def hold(self, address: str) -> Iterator[HeldBody]:
        """Give what holds a body of an address as long as the block runs."""
        body = HeldBody(self, address)
        try:
            yield body
        finally:
            self._held_bytes[address] -= body.byte_count
            if not self._held_bytes[address]:
                del self._held_bytes[address]

    def add(self, address: str, byte_count: int) -> None:
        """Count bytes of an address. Raises `RefusedError` if they are too many."""
        held_bytes = self._held_bytes[address] + byte_count
        is_full = self._held_bytes.total() + byte_count > self._max_bytes
        if is_full or held_bytes > self._max_bytes * MAX_ADDRESS_SHARE:
            raise temporary_refusal("busy", "too many bodies are under way")
        self._held_bytes[address] = held_bytes


async def read_body(request: Request, max_bytes: int, held: HeldBody) -> bytes:
    """Return the body, without its compression.

    Raises `RefusedError` as soon as it is larger than the limit, before or after unpacking, and for
    a body that is too slow or finds no room.
    """
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length) > max_bytes:
        raise _too_large(max_bytes)
    chunks, byte_count = [], len(request.scope["query_string"])
    try:
        async with (
            asyncio.timeout(BODY_TIMEOUT_SECONDS),
            asyncio.timeout(PAUSE_TIMEOUT_SECONDS) as pause,
        ):
            async for chunk in request.stream():
                pause.reschedule(asyncio.get_running_loop().time() + PAUSE_TIMEOUT_SECONDS)
                byte_count += len(chunk)
                if byte_count > max_bytes:
                    raise _too_large(max_bytes)
                held.add(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise RefusedError(
            HTTPStatus.REQUEST_TIMEOUT,
            "slow",
            f"not sent within {BODY_TIMEOUT_SECONDS:g} s or silent for {PAUSE_TIMEOUT_SECONDS:g} s",
            {"Connection": "close"},
        ) from None
    body = b"".join(chunks)
    # Amazon Data Firehose can be set up to compress.
    is_gzip = request.headers.get("content-encoding", "").strip().lower() == "gzip"
    if not is_gzip:
        return body
    text = _unpacked(body, max_bytes)
    held.add(len(text))
    return text


def _unpacked(body: bytes, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=_GZIP_WBITS)
    try:
        text = unpacker.decompress(body, max_bytes)
    except zlib.error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "encoding", "the body is not gzip") from None
    if unpacker.unconsumed_tail:
        raise _too_large(max_bytes)
    if not unpacker.eof:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "encoding", "the body's gzip ends early")
    return text


def _too_large(max_bytes: int) -> RefusedError:
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too_large",
        f"over {max_bytes:,} bytes, the limit SENDLOG_KAFKA__MAX_RECORD_BYTES",
        {"Connection": "close"},
    )
