"""Secrets from files: every setting that is a secret may be named by a variable with `_FILE`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from schemas.errors import ExplainedError

FILE_SUFFIX: Final = "_FILE"


class SecretFileError(ExplainedError, ValueError):
    """A secret cannot be read from its file; the text names the variable, never the value."""


class FileSecret(SecretStr):
    """A secret in a file, which is read again each time: a new connection takes a new password.

    A file that is gone meanwhile leaves what it had. Raises `OSError` if it cannot be read at
    first.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(_content(path))
        self._path = path

    def get_secret_value(self) -> str:
        """Return what the file has now."""
        with suppress(OSError, UnicodeDecodeError):
            self._secret_value = _content(self._path)
        return self._secret_value


def _content(path: Path) -> str:
    return path.read_text("utf-8").rstrip("\r\n")


def secret_fields(group: Any) -> list[str]:
    """Return the fields of a group of settings that are secrets."""
    if not (isinstance(group, type) and issubclass(group, BaseModel)):
        return []
    return [name for name, field in group.model_fields.items() if field.annotation is SecretStr]


def secrets_of_files(
    groups: Mapping[str, Any], environment: Mapping[str, str], prefix: str
) -> dict[str, dict[str, SecretStr]]:
    """Return the secrets that are in files, by group and field. Raises `SecretFileError`."""
    secrets: dict[str, dict[str, SecretStr]] = {}
    for group, field, variable in _variables(groups, prefix):
        file_variable = variable + FILE_SUFFIX
        path = environment.get(file_variable, "")
        if not path:
            continue
        if variable in environment or field in _json_group(environment.get(f"{prefix}{group}", "")):
            raise SecretFileError(f"{file_variable}: {variable} is set, too; leave out one")
        secrets.setdefault(group.lower(), {})[field] = read_secret(file_variable, Path(path))
    return secrets


def read_secret(variable: str, path: Path) -> FileSecret:
    """Return the secret in a file. Raises `SecretFileError`, which names the variable."""
    try:
        return FileSecret(path)
    except OSError as error:
        raise SecretFileError(f"{variable}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretFileError(f"{variable}: {path} is not UTF-8") from None


def _variables(groups: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield group, field and variable of each secret."""
    for group, annotation in groups.items():
        for field in secret_fields(annotation):
            yield group, field, f"{prefix}{group}__{field.upper()}"


def _json_group(text: str) -> Mapping[str, Any]:
    """Return a group that is written as JSON."""
    with suppress(ValueError):
        group = json.loads(text)
        if isinstance(group, dict):
            return {name.lower(): value for name, value in group.items()}
    return {}
