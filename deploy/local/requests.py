"""What a client of ClickHouse's HTTP interface asks for, read off its request."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from email.parser import BytesParser
from typing import IO, TYPE_CHECKING, Final

import pyarrow as pa

from deploy.local.engine import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from deploy.local.engine import Source

#: Parameters that are about the transport, not about the query.
_TRANSPORT: Final = frozenset(
    {
        "buffer_size", "client_protocol_version", "compress", "database", "decompress",
        "default_format", "enable_http_compression", "http_headers_progress_interval_ms",
        "password", "query", "query_id", "quota_key", "role", "send_progress_in_http_headers",
        "session_check", "session_id", "session_timeout", "user", "wait_end_of_query",
        "cancel_http_readonly_queries_on_client_close",
    }
)  # fmt: skip
_CODECS: Final = {"gzip": "gzip", "lz4": "lz4", "zstd": "zstd", "br": "brotli"}
_CANNOT_DECOMPRESS: Final = 271


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is asked for, apart from the body."""

    query: bytes
    database: str
    default_format: str
    settings: dict[str, str]
    params: dict[str, str]
    query_id: str
    wait_end_of_query: bool

    @classmethod
    def read(cls, request: Request, form: Mapping[str, str]) -> Ask:
        """Read it off the URL, the headers and the fields of a form, in rising precedence."""
        given = {**request.query_params, **form}
        headers = request.headers
        # As in ClickHouse a GET, which any page in a browser can cause, only reads.
        limits = {"readonly": "2"} if request.method == "GET" else {}
        return cls(
            query=given.get("query", "").encode(),
            database=given.get("database", headers.get("x-clickhouse-database", "")),
            default_format=given.get("default_format", headers.get("x-clickhouse-format", "")),
            settings={
                name: value
                for name, value in given.items()
                if name not in _TRANSPORT and not name.startswith("param_")
            }
            | limits,
            params={
                name.removeprefix("param_"): value
                for name, value in given.items()
                if name.startswith("param_")
            },
            query_id=given.get("query_id", ""),
            wait_end_of_query=given.get("wait_end_of_query", "0") not in {"", "0"},
        )


def credentials(request: Request) -> tuple[str, str]:
    """User and password, from ClickHouse's headers, basic authentication or the URL."""
    headers, url = request.headers, request.query_params
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", "")
    scheme, _, coded = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(coded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise EngineError("The Authorization header is no basic authentication", 516) from None
        return user, password
    return url.get("user", "default"), url.get("password", "")


def form_fields(content_type: str, body: IO[bytes]) -> dict[str, str]:
    """Read the fields of a multipart form: how clients send parameters too long for a URL."""
    if not content_type.startswith("multipart/form-data"):
        return {}
    message = BytesParser().parsebytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + body.read()
    )
    fields = {}
    for part in message.walk():
        if part.is_multipart():
            continue
        if part.get_filename():
            raise EngineError("Tables sent along as files are not supported locally", 48)
        value = part.get_payload(decode=True)
        assert isinstance(value, bytes)
        fields[str(part.get_param("name", header="content-disposition"))] = value.decode()
    return fields


class _Decoded:
    """A compressed body, read as what it holds."""

    def __init__(self, stream: Source, coding: str) -> None:
        self._stream, self._coding = stream, coding

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            text = f"The body cannot be decompressed as {self._coding}: {error}"
            raise EngineError(text, _CANNOT_DECOMPRESS) from None


def decoded(body: IO[bytes], coding: str) -> Source:
    """Undo the `Content-Encoding` of a body. Errors while reading it are `EngineError`."""
    if coding in {"", "identity"}:
        return body
    if codec := _CODECS.get(coding):
        return _Decoded(pa.CompressedInputStream(pa.PythonFile(body, mode="r"), codec), coding)
    raise EngineError(f"Content-Encoding {coding!r}: it takes {', '.join(_CODECS)}", 48)
