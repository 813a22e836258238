"""The ClickHouse engine (chDB) as a library: one open data folder, one session per request.

Measured on two cores, shared with other work, chDB 26.9: sessions run in parallel. Beside a read of
4 s that computes on all cores a small read takes 0.6 ms and an insert of a row 1 to 5 ms (medians;
the slowest 72 and 161 ms). Opening and closing a session costs 0.06 ms, setting it up 0.08 ms. So
every request gets a session of its own, and with that its own settings, parameters and current
database; nothing can leak, and no lock is needed.

Inserts are handed over in pieces rather than by a file and `FROM INFILE`: no data are written twice
and an error is the engine's own. As to speed the two are equal within the noise.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from deploy.local.native import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from deploy.local.native import Connection, Result

#: Formats in which the blocks of a result can follow one another; any other is built as a whole.
STREAMED: Final = frozenset(
    {"ArrowStream", "CSV", "JSONEachRow", "Native", "RowBinary", "TSV", "TabSeparated"}
)
#: Merges give way to what people wait for, and large ones, which may take minutes, to small ones.
#: (The first takes CAP_SYS_NICE, as root has it; without, the engine leaves it.) For a server the
#: same is in `deploy/clickhouse/merges.yaml`.
_STARTED_WITH: Final = (
    "?os_threads_nice_value_merge_mutate=10"
    "&background_merges_mutations_scheduling_policy=shortest_task_first"
)
#: As a library the engine has other defaults than a server, for typing queries by hand.
_SERVER: Final = {
    "implicit_select": "0",
    "date_time_input_format": "basic",
    "cast_string_to_dynamic_use_inference": "0",
}
_SLICE: Final = 1 << 20
#: Statements whose kind is kept, and their length at most: to find it takes 3 ms of a long one, and
#: programs ask the same over and over, with other values.
_KINDS: Final = 1000
_TEXT: Final = 20_000
_ARROW_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
_NOT_STREAMED: Final = "Streaming query is not supported"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CODE: Final = re.compile(r"Code: (\d+)")


class EngineError(Exception):
    """What the engine answered instead of a result: `code` is ClickHouse's error code."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}" if code else text)
        found = _CODE.search(str(self))
        self.code = int(found[1]) if found else 1002  # UNKNOWN_EXCEPTION


class Source(Protocol):
    """Where the data of an insert is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, or all; none at the end."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A result: its bytes, and what was counted before the first of them."""

    chunks: Iterator[bytes]
    read_rows: int = 0
    written_rows: int = 0
    written_bytes: int = 0


class Session:
    """One request's connection to the engine; not for two threads at a time."""

    def __init__(
        self, connection: Connection, params: dict[str, str], kinds: dict[str, str]
    ) -> None:
        """Take a connection, the values of parameters, and the kinds of statements, where known."""
        self._connection = connection
        self._params = params
        self._kinds = kinds

    def kind(self, sql: str) -> str:
        """Say what a statement does: READ_ONLY, MUTATING, MUTATING_GLOBAL, CONTROL or UNKNOWN."""
        if known := self._kinds.get(sql):
            return known
        with _engine_errors():
            found = self._connection.classify_query(sql)
        if found["statement_count"] > 1:
            raise EngineError("Multi-statements are not allowed: send them one by one", 62)
        kind = str(found["query_class"].name)
        if len(self._kinds) >= _KINDS:
            self._kinds.clear()
        if len(sql) <= _TEXT:
            self._kinds[sql] = kind
        return kind

    def set(self, values: Mapping[str, str]) -> None:
        """Change settings for the rest of the session."""
        if wrong := [name for name in values if not _NAME.fullmatch(name)]:
            raise EngineError(f"{wrong[0]!r} cannot be the name of a setting", 115)
        pairs = ", ".join(f"{name} = {_quoted(value)}" for name, value in values.items())
        with _engine_errors():
            self._connection.query(f"SET {pairs}", "Null", params={})

    def query(self, sql: str, form: str) -> Answer:
        """Run a statement; `form` is the format of its rows unless it names one itself."""
        with _engine_errors():
            result = self._connection.query(sql, form, params=self._params)
        return Answer(
            chunks=_slices(result),
            read_rows=result.storage_rows_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
        )

    def stream(self, sql: str, form: str) -> Answer:
        """Run a query and give its rows block by block, in constant memory.

        `form` is the query's format, of `STREAMED`. The first block is computed on return.
        """
        blocks = self._blocks(sql, form)
        try:
            first = next(blocks, b"")
        except EngineError as error:
            if _NOT_STREAMED not in str(error):  # SHOW, DESCRIBE and the like
                raise
            return self.query(sql, form)
        blocks = _chain(first, blocks)
        return Answer(chunks=_one_arrow_stream(blocks) if form == "ArrowStream" else blocks)

    def insert(self, statement: str, form: str, data: Source) -> Answer:
        """Run `INSERT INTO table (columns)` with data in format `form`.

        A block is written as a whole or not at all. Data of more than `max_insert_block_size` rows
        are several blocks, of which the first may stay when a later one fails, as in ClickHouse.
        """
        if self._params:  # elsewhere they go with the call, which has no limit of length
            self.set({f"param_{name}": value for name, value in self._params.items()})
        with _engine_errors():
            insert = self._connection.send_insert(statement, form)
            try:
                while chunk := data.read(_SLICE):
                    self._connection.insert_append(insert, chunk)
                done = self._connection.insert_done(insert)
            except BaseException:
                self._connection.insert_cancel(insert)
                raise
        return Answer(
            chunks=iter(()),
            written_rows=done.rows_written(),
            written_bytes=done.bytes_written(),
        )

    def close(self) -> None:
        """Give the connection back; a result still open is cancelled."""
        self._connection.close()

    def _blocks(self, sql: str, form: str) -> Iterator[bytes]:
        with _engine_errors():
            result = self._connection.send_query(sql, form, params=self._params)
            while block := self._connection.streaming_fetch_result(result).bytes():
                yield block


class Engine:
    """An open data folder. One process may have one, and one folder one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._address = f"{folder}{_STARTED_WITH}"
        self._kinds: dict[str, str] = {}
        with _printed_errors() as printed:
            try:
                # The engine stays up as long as one connection is open: this one.
                self._anchor = connect(self._address)
            except RuntimeError as error:
                raise EngineError(_reason(printed, error)) from None

        self.timezone = (
            self._anchor.query("SELECT timezone()", "TSV", params={}).bytes().decode().strip()
        )

    def session(
        self, *, database: str, settings: dict[str, str], params: Mapping[str, str], label: str
    ) -> Session:
        """Open a session with its current database, its settings and its bound parameters.

        `label` names it for `cancel`. Raises `EngineError` for an unknown database or setting.
        """
        session = Session(connect(self._address), dict(params), self._kinds)
        try:
            if database:
                session.query(f"USE {_quoted(database, '`')}", "Null")
            session.set(_SERVER | settings | {"log_comment": label})
        except BaseException:
            session.close()
            raise
        return session

    def cancel(self, label: str | None = None) -> None:
        """Cancel what runs in the sessions of this label, or all that runs."""
        chosen = f"Settings['log_comment'] = {_quoted(label)}" if label else "query != ''"
        self._anchor.query(f"KILL QUERY WHERE {chosen} ASYNC FORMAT Null", "Null", params={})

    def close(self) -> None:
        """Close the data folder."""
        self._anchor.close()


def _slices(result: Result) -> Iterator[bytes]:
    view = result.get_memview().view() if result.size() else b""  # a copy would double the memory
    for start in range(0, len(view), _SLICE):
        yield bytes(view[start : start + _SLICE])


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _one_arrow_stream(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Join whole Arrow streams of one schema: the first's schema, all batches, one end mark."""
    for number, block in enumerate(blocks):
        schema = 8 + int.from_bytes(block[4:8], "little") if number else 0
        yield block[schema:].removesuffix(_ARROW_END)
    yield _ARROW_END


def _quoted(text: str, quote: str = "'") -> str:
    return quote + text.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:  # the engine's text quotes bytes that are no text
        raise EngineError(bytes(error.object).decode(errors="replace")) from None
    except RuntimeError as error:
        text = str(error)
        raise EngineError(text, 48 if "does not support INSERT" in text else None) from None


@contextmanager
def _printed_errors() -> Iterator[BinaryIO]:
    """Catch what native code prints on standard error: why a folder does not open is only there."""
    with tempfile.TemporaryFile() as printed:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(printed.fileno(), 2)
        try:
            yield printed
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _reason(printed: BinaryIO, error: RuntimeError) -> str:
    """One line of what the engine says when it cannot open a folder."""
    printed.seek(0)
    text = printed.read().decode(errors="replace").strip() or str(error)
    return text.rpartition("DB::Exception: ")[2].split(", Stack trace")[0].replace("\n", " ")[:400]
