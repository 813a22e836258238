"""How far an import has come, in a file: a later run leaves out what is published.

It is a list of files with how many of their payloads and bad lines are done. Nothing depends on it:
without it everything is published again, and counts once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from processor.imports.files import STDIN
from processor.imports.payloads import ImportSourceError

FORMAT_VERSION: Final = 1


class ImportProgress:
    """What is done of each file; kept in `path`, or not at all without one."""

    def __init__(self, path: Path | None, target: str) -> None:
        """Take what the import is to: what was done for another does not count.

        Raises `ImportSourceError` if the file is none of an import, or one to elsewhere.
        """
        self._path, self._target = path, target
        self._files: dict[str, dict[str, Any]] = _read(path, target) if path else {}

    def done(self, file: Path) -> int:
        """Return how many items of a file are done; 0 if it has changed since, or is no file."""
        state = self._files.get(_name(file))
        is_same = state is not None and state["version"] == _version(file)
        return int(state["items"]) if state is not None and is_same else 0

    def set_done(self, file: Path, items: int) -> None:
        """Say how many items of a file are done, and write it down."""
        if self._path is None or str(file) == STDIN:
            return
        self._files[_name(file)] = {"version": _version(file), "items": items}
        body = {"format": FORMAT_VERSION, "target": self._target, "files": self._files}
        partial = self._path.with_name(self._path.name + ".part")
        partial.write_text(json.dumps(body, indent=1), "utf-8")
        partial.replace(self._path)


def _read(path: Path, target: str) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        body = json.loads(path.read_text("utf-8"))
        files: dict[str, dict[str, Any]] = body["files"]
        stated_target = body["target"]
        is_known = body["format"] == FORMAT_VERSION
    except (OSError, ValueError, KeyError, TypeError):
        is_known = False
    if not is_known:
        raise ImportSourceError(f"--state {path} is no state of an import: name another file")
    if stated_target != target:
        raise ImportSourceError(
            f"--state {path} is of an import to {stated_target}, not to {target}: name another file"
        )
    return files


def _name(file: Path) -> str:
    return str(file.absolute())


def _version(file: Path) -> list[int]:
    """Return what changes if a file, or a Maildir, does: sizes, and when they were written."""
    if str(file) == STDIN:
        return []
    places = [file / "cur", file / "new"] if file.is_dir() else [file]
    states = [place.stat() for place in places]
    return [number for state in states for number in (state.st_size, state.st_mtime_ns)]
