"""Files, folders and standard input as bytes; compressed files as what is in them."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, cast

from processor.imports.payloads import ImportSourceError

STDIN: Final = "-"
_GZIP_MAGIC: Final = b"\x1f\x8b"
#: Bytes at the beginning of a file by which its form is told.
HEAD_BYTES: Final = 64 * 1024


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Return the files of paths: those of folders by name, also of folders in them.

    Hidden files are left out. Raises `ImportSourceError` if a path is missing, or has no file.
    """
    files: list[Path] = []
    for path in paths:
        if str(path) == STDIN or path.is_file():
            files.append(path)
        elif path.is_dir():
            within = [path] if is_maildir(path) else sorted(_within(path))
            if not within:
                raise ImportSourceError(f"{path}: there is no file in this folder")
            files += within
        else:
            raise ImportSourceError(f"{path}: no such file or folder")
    return files


def _within(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def is_maildir(path: Path) -> bool:
    """Tell whether a path is a Maildir, which is a mailbox and not a folder of files."""
    return path.is_dir() and (path / "cur").is_dir() and (path / "new").is_dir()


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Yield a file's bytes, uncompressed, without a byte order mark.

    Raises `ImportSourceError` if it cannot be opened.
    """
    if str(path) == STDIN:
        yield _plain(cast("BufferedReader", sys.stdin.buffer))
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImportSourceError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        yield _plain(file)


def head_of(file: BinaryIO) -> bytes:
    """Return how a file begins, without reading on."""
    return cast("BufferedReader", file).peek(HEAD_BYTES)


def _plain(file: BufferedReader) -> BinaryIO:
    if file.peek(2)[:2] == _GZIP_MAGIC:
        file = BufferedReader(cast("BinaryIO", gzip.GzipFile(fileobj=file)))  # type: ignore[arg-type]
    if file.peek(3)[:3] == b"\xef\xbb\xbf":
        file.read(3)
    return file
