"""The body of a request: read up to a limit, and unpacked if it is compressed."""

from __future__ import annotations

import asyncio
import zlib
from http import HTTPStatus
from typing import Final

from starlette.requests import Request

from processor.gateway.answers import RefusedError

BODY_TIMEOUT_SECONDS: Final = 30.0
_GZIP_WBITS: Final = 31


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body, without its compression.

    Raises `RefusedError` as soon as it is larger than the limit, before or after unpacking.
    """
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length) > max_bytes:
        raise _too_large(max_bytes)
    chunks, byte_count = [], len(request.scope["query_string"])
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for chunk in request.stream():
                byte_count += len(chunk)
                if byte_count > max_bytes:
                    raise _too_large(max_bytes)
                chunks.append(chunk)
    except TimeoutError:
        raise RefusedError(
            HTTPStatus.REQUEST_TIMEOUT, "slow", f"not sent within {BODY_TIMEOUT_SECONDS:g} s"
        ) from None
    body = b"".join(chunks)
    # Amazon Data Firehose can be set up to compress.
    is_gzip = request.headers.get("content-encoding", "").strip().lower() == "gzip"
    return _unpacked(body, max_bytes) if is_gzip else body


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
