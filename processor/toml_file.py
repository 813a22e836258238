"""Explained errors of TOML files that a setting or an option names."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ExplainedError


@contextmanager
def explained_errors(file: Path, origin: str, error: type[ExplainedError]) -> Iterator[None]:
    """Replace the errors of reading and parsing a TOML file by `error`, with an explanation.

    `origin` is the option or variable that names the file.
    """
    try:
        yield
    except OSError as problem:
        raise error(f"{origin} {file} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise error(f"{origin} {file} is not UTF-8") from None
    except tomllib.TOMLDecodeError as problem:
        raise error(f"{origin} {file} is not TOML: {problem}") from None
    except RecursionError:
        raise error(f"{origin} {file} is nested too deeply") from None
