"""Exports: ClickHouse's own bytes in the format asked for, passed on as they come.

No row is ever an object here, so an export of any size takes the same memory. In CSV a text that a
spreadsheet would take for a formula (it begins with = + - @, a tab or a line break, also in full
width) gets an apostrophe in front; a telephone number, + and digits alone, stays as it is.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from projections.expressions import STRING, plain
from projections.tables import log_of
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Format = Literal["csv", "ndjson", "parquet"]
#: Rows of a whole log: more than any tenant has.
EVERYTHING: Final = 10**12
_CHUNK: Final = 256 * 1024
#: ClickHouse's mark of an error after it has begun to answer stands in the last of the bytes.
_TAIL: Final = 64 * 1024
_TAG_HEADER: Final = "X-ClickHouse-Exception-Tag"
_FORMULA: Final = r"^[=+\\-@\\t\\r\\n\\x{FF1D}\\x{FF0B}\\x{FF0D}\\x{FF20}]"
_NUMBER: Final = r"^\\+[0-9]+$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A format: ClickHouse's name of it and its media type."""

    engine: str
    media_type: str


FORMS: Final[Mapping[Format, Form]] = {
    "csv": Form(engine="CSVWithNames", media_type="text/csv; charset=utf-8"),
    "ndjson": Form(engine="JSONEachRow", media_type="application/x-ndjson"),
    "parquet": Form(engine="Parquet", media_type="application/vnd.apache.parquet"),
}
_SETTINGS: Final = {
    "date_time_output_format": "iso",
    "format_csv_null_representation": "",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_parquet_string_as_string": 1,
    # What does not fit in memory is sorted on disk; and it may take its time.
    "max_bytes_before_external_sort": 512 * 1024 * 1024,
    "max_execution_time": 3600,
}


class BrokenExportError(RuntimeError):
    """ClickHouse broke off an answer that had begun; so must ours, or half would pass for all."""


def harmless(sql: str, channel: Channel) -> str:
    """Return a query of log rows with its texts made harmless for spreadsheets."""
    texts = [
        f"if(match({name}, '{_FORMULA}') AND NOT match({name}, '{_NUMBER}'), "
        f"concat('\\'', {name}), {name}) AS {name}"
        for name, reading in log_of(channel).readings.items()
        if plain(reading.kind) == STRING
    ]
    return f"SELECT * REPLACE ({', '.join(texts)}) FROM ({sql})"


class Chunks:
    """The bytes of an answer as they come; closing it, at any time, ends the query."""

    def __init__(self, source: Any) -> None:
        self._source = source
        tag = source.headers.get(_TAG_HEADER, "")
        self._chunks = _chunks(source, b"__exception__\r\n" + tag.encode() if tag else b"")
        self._first: bytes | None = None
        self._first = next(self._chunks, b"")

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        return next(self._chunks) if first is None else first

    def close(self) -> None:
        """End the query, if it has not ended."""
        self._chunks.close()
        self._source.close()


def opened(client: Client, sql: str, values: Mapping[str, Any], form: Format) -> Chunks:
    """Begin an export and return its bytes; the first are there already.

    Raises ClickHouse's errors now, and `BrokenExportError` while the bytes are taken.
    """
    return Chunks(
        client.raw_stream(
            sql, parameters=dict(values), settings=dict(_SETTINGS), fmt=FORMS[form].engine
        )
    )


def _chunks(source: Any, mark: bytes) -> Generator[bytes]:
    held = b""
    try:
        while chunk := source.read(_CHUNK):
            held += chunk
            if len(held) > _TAIL:
                yield held[:-_TAIL]
                held = held[-_TAIL:]
        if mark and mark in held:
            raise BrokenExportError("ClickHouse broke off the answer")
        if held:
            yield held
    finally:
        source.close()
