"""What a file of history gives: payloads with their places, and lines that cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from schemas.errors import ExplainedError


class ImportSourceError(ExplainedError, ValueError):
    """A file or folder cannot be read at all; the text names it."""


class SourcePayload(NamedTuple):
    """A payload as the provider pushes it, and its place.

    `recorded_ms` is when it first arrived, None if the file does not say. A payload is `exact` if
    the file has it as it was pushed: its events then are those of the live feed. One that was made
    of a row of another layout may differ in what an event is identified by.
    """

    file: str
    line: int
    payload: bytes
    headers: Mapping[str, str] = {}
    recorded_ms: int | None = None
    exact: bool = True


class BadLine(NamedTuple):
    """A line, or what begins there, that cannot be read, and why."""

    file: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.why}"


class LeftOut(NamedTuple):
    """A row that is read and not published, and why."""

    file: str
    line: int
    why: str
