"""Kafka's jars: fetched by Maven, and taken only as `kafka/jars.sha256` has them.

Each line there is a SHA-256 and the Maven coordinates of a jar, `group:artifact:version`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from deploy.local.process import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What all jars have to be, line by line.
CHECKSUMS: Final = Path(__file__).with_name("kafka") / "jars.sha256"


class Jar(NamedTuple):
    """A jar by its Maven coordinates, with the SHA-256 of its bytes in hex."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        """The name of its file, as Maven copies it."""
        return f"{self.artifact}-{self.version}.jar"


def expected_jars() -> Iterator[Jar]:
    """Yield the jars of the local broker."""
    for line in CHECKSUMS.read_text("utf-8").splitlines():
        sha256, coordinates = line.split()
        yield Jar(sha256, *coordinates.split(":"))


def check_jars(folder: Path) -> None:
    """Raise `LocalError` unless a folder has the expected jars, byte by byte, and nothing else."""
    expected = {jar.file_name: jar.sha256 for jar in expected_jars()}
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            problem = "is missing" if name not in found else "is not listed"
            if name in expected and name in found:
                problem = "has another checksum"
            raise LocalError(f"Kafka's jars are not used: {name} {problem}; see {CHECKSUMS.name}")
