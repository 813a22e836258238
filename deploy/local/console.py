"""The log lines of all parts on one terminal: each under its part's name."""

from __future__ import annotations

import os
from itertools import cycle
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

_COLOURS: Final = (36, 33, 35, 32, 34, 96, 93, 95)
_LONGEST: Final = 1 << 16


class Console:
    """Writes lines as `name | text`, names aligned, in colour on a terminal only."""

    def __init__(self, stream: IO[str], names: Iterable[str]) -> None:
        names = list(names)
        self._stream = stream
        self._width = max(map(len, names), default=0)
        self._colours = dict(zip(names, cycle(_COLOURS), strict=False))
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def line(self, name: str, text: str) -> None:
        """Write one line of a part."""
        label = f"{name:<{self._width}} |"
        if self._coloured:
            label = f"\x1b[{self._colours.get(name, 37)}m{label}\x1b[0m"
        self.plain(f"{label} {text}")

    def plain(self, text: str) -> None:
        """Write text as it is."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    async def copy(self, name: str, reader: asyncio.StreamReader) -> None:
        """Write what a part prints, line by line, until it closes its end."""
        rest = b""
        while chunk := await reader.read(_LONGEST):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self.line(name, line.decode(errors="replace").rstrip("\r"))
        if rest:
            self.line(name, rest.decode(errors="replace"))
