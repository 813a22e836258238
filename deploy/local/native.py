"""The native engine's calls that we use, with their types: its own stub leaves them out."""

# ruff: noqa: D102 - the methods are the engine's own, and their names say what they do

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypedDict, cast

# The wrapper around this module hides the rows' counts and the schema of an empty Arrow stream.
from chdb import _chdb

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import Enum


class Result(Protocol):
    """A result, or one block of it; the memory belongs to the engine."""

    def bytes(self) -> bytes: ...
    def get_memview(self) -> View: ...
    def size(self) -> int: ...
    def storage_rows_read(self) -> int: ...
    def rows_written(self) -> int: ...
    def bytes_written(self) -> int: ...


class View(Protocol):
    """Where a result's bytes are."""

    def view(self) -> memoryview: ...


class EventKind(TypedDict):
    """What is said of a statement, in part."""

    query_class: Enum
    statement_count: int


class Connection(Protocol):
    """One session. Its calls give the interpreter free while they wait."""

    def query(self, sql: str, form: str, *, params: dict[str, str]) -> Result: ...
    def send_query(self, sql: str, form: str, *, params: dict[str, str]) -> object: ...
    def streaming_fetch_result(self, stream: object) -> Result: ...
    def send_insert(self, statement: str, form: str) -> object: ...
    def insert_append(self, insert: object, data: bytes) -> None: ...
    def insert_done(self, insert: object) -> Result: ...
    def insert_cancel(self, insert: object) -> None: ...
    def classify_query(self, sql: str) -> EventKind: ...
    def close(self) -> None: ...


#: Open a session of the data folder, and the folder itself with the first one.
connect: Final = cast("Callable[[str], Connection]", vars(_chdb)["connect"])
