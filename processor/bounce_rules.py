"""The rules that classify bounces: those that ship, with a deployment's own asked before them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from processor.settings import PREFIX, Settings
from schemas.bounces import Rules, default_rules
from schemas.errors import ExplainedError
from schemas.providers import explain_validation

#: The variable that names a deployment's own file.
VARIABLE = f"{PREFIX}BOUNCE_RULES"


class RulesError(ExplainedError, ValueError):
    """A file of rules cannot be used; the text names it, and the line or field that is wrong."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The rules that a program goes by, and where they are from (None: the package)."""

    rules: Rules
    file: Path | None = None

    def __str__(self) -> str:
        """Return the version in words, as "version 3 (own.toml, over version 1)"."""
        over = f" ({self.file}, over version {default_rules().version})" if self.file else ""
        return f"version {self.rules.version}{over}"


def in_force(settings: Settings) -> InForce:
    """Return the rules that the settings ask for. Raises `RulesError`."""
    file = settings.bounce_rules
    return InForce(default_rules()) if file is None else read(file, VARIABLE)


def read(file: Path, named: str) -> InForce:
    """Return the rules of a file, over those that ship.

    Raises `RulesError`, which calls the file what it is `named` by: an option or a variable.
    """
    try:
        return InForce(Rules.parse(file.read_text("utf-8"), default_rules()), file)
    except OSError as error:
        raise RulesError(f"{named} {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RulesError(f"{named} {file} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"{named} {file} is not TOML: {error}") from None
    except ValidationError as error:
        raise RulesError(f"{named} {file}: {explain_validation(error)}") from None
