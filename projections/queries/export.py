"""Exports: the bytes that ClickHouse writes in a format, passed on in chunks.

No row becomes a Python object, so an export of any size takes the same memory. In CSV a text that a
spreadsheet would take for a formula (it begins with = + - @, a tab or a line break, also in full
width) gets an apostrophe in front, unless it is a telephone number: + and digits.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from projections.column_types import STRING, base_type
from projections.tables import log_of
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ExportFormat = Literal["csv", "ndjson", "parquet"]
#: The limit of a whole log, as a listing needs one: more rows than any tenant has.
MAX_EXPORT_ROWS: Final = 10**12
READ_CHUNK_BYTES: Final = 256 * 1024
#: After a late error ClickHouse ends its answer with a mark, so its last bytes are checked.
TAIL_BYTES: Final = 64 * 1024
_TAG_HEADER: Final = "X-ClickHouse-Exception-Tag"
#: With what a formula begins for a spreadsheet.
_FORMULA_CHARACTERS: Final = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_FORMULA: Final = "^[" + "".join(f"\\\\x{{{ord(each):X}}}" for each in _FORMULA_CHARACTERS) + "]"
_NUMBER: Final = "^[+][0-9]+$"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatDefinition:
    """A format: its name in ClickHouse and its media type."""

    clickhouse_name: str
    media_type: str


EXPORT_FORMATS: Final[Mapping[ExportFormat, FormatDefinition]] = {
    "csv": FormatDefinition(clickhouse_name="CSVWithNames", media_type="text/csv; charset=utf-8"),
    "ndjson": FormatDefinition(clickhouse_name="JSONEachRow", media_type="application/x-ndjson"),
    "parquet": FormatDefinition(
        clickhouse_name="Parquet", media_type="application/vnd.apache.parquet"
    ),
}
_SETTINGS: Final = {
    "date_time_output_format": "iso",
    "format_csv_null_representation": "",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_parquet_string_as_string": 1,
    # Sort on disk what does not fit in memory; an export may take long.
    "max_bytes_before_external_sort": 512 * 1024 * 1024,
    "max_execution_time": 3600,
}


class BrokenExportError(RuntimeError):
    """ClickHouse failed in the middle of an answer.

    The export must break off too, or a part of it would look complete.
    """


def log_texts(channel: Channel) -> list[str]:
    """Return the columns of a log that are texts."""
    columns = log_of(channel).columns.items()
    return [name for name, expression in columns if base_type(expression.kind) == STRING]


def formula_safe_sql(sql: str, texts: Iterable[str]) -> str:
    """Return a query whose columns `texts` are no formulas for a spreadsheet."""
    safe = [
        f"if(match({name}, '{_FORMULA}') AND NOT match({name}, '{_NUMBER}'), "
        f"concat('\\'', {name}), {name}) AS {name}"
        for name in texts
    ]
    return f"SELECT * REPLACE ({', '.join(safe)}) FROM ({sql})"


def formula_safe(text: str) -> str:
    """Return a text as `formula_safe_sql` has it."""
    is_formula = text.startswith(tuple(_FORMULA_CHARACTERS)) and not re.fullmatch(_NUMBER, text)
    return f"'{text}" if is_formula else text


class ExportStream:
    """The chunks of bytes of an answer. Closing it ends the query."""

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
        """End the query if it still runs."""
        self._chunks.close()
        self._source.close()


def open_export(
    client: Client, sql: str, values: Mapping[str, Any], export_format: ExportFormat
) -> ExportStream:
    """Start an export and return its chunks of bytes; the first has been read already.

    `values` are the query's parameters. Raises ClickHouse's errors at once, and `BrokenExportError`
    while the chunks are read.
    """
    return ExportStream(
        client.raw_stream(
            sql,
            parameters=dict(values),
            settings=dict(_SETTINGS),
            fmt=EXPORT_FORMATS[export_format].clickhouse_name,
        )
    )


def _chunks(source: Any, mark: bytes) -> Generator[bytes]:
    pending = b""
    try:
        while chunk := source.read(READ_CHUNK_BYTES):
            pending += chunk
            if len(pending) > TAIL_BYTES:
                yield pending[:-TAIL_BYTES]
                pending = pending[-TAIL_BYTES:]
        if mark and mark in pending:
            raise BrokenExportError("ClickHouse broke off the answer")
        if pending:
            yield pending
    finally:
        source.close()
