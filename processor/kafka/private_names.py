"""Whether a library still has the names that we rely on beyond its public interface.

Such a name may go with any release. Then a program ends at its start, with what is missing, rather
than later with an `AttributeError`, or never while a fix has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final, TypeAlias

from processor.logging import get
from schemas.errors import ExplainedError

log = get(__name__)

#: The names relied on, by the class or module that has them.
ReliedOn: TypeAlias = Mapping[Any, Iterable[str]]

#: The releases that all tests were run with.
TESTED_VERSIONS: Final = {"aiokafka": "0.14.0", "faust-streaming": "0.15.3"}


class LibraryError(ExplainedError):
    """The installed library lacks something that Sendlog relies on; the text names it."""


def check_library(library: str, relied_on: ReliedOn) -> None:
    """Raise `LibraryError` if a name is missing; warn of a version that was not tested."""
    installed, tested = version(library), TESTED_VERSIONS[library]
    if missing := missing_names(relied_on):
        raise LibraryError(
            f"{library} {installed} has no {', '.join(missing)}: install {library} {tested}"
        )
    if installed != tested:
        log.warning("library_untested", library=library, version=installed, tested=tested)


def missing_names(relied_on: ReliedOn) -> list[str]:
    """Return the names that are gone, each with its owner.

    An attribute that only objects have is there if a method of their class uses it.
    """
    return [
        f"{getattr(owner, '__qualname__', owner.__name__)}.{name}"
        for owner, names in relied_on.items() for name in names
        if not hasattr(owner, name) and name not in _names_in_methods(owner)
    ]  # fmt: skip


def _names_in_methods(owner: Any) -> set[str]:
    return {
        name
        for each in getattr(owner, "__mro__", ()) for method in vars(each).values()
        if hasattr(method, "__code__") for name in method.__code__.co_names
    }  # fmt: skip
