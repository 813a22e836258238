"""The rules that classify bounces: a deployment's own, before those of the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from processor.settings import ENVIRONMENT_PREFIX, Settings
from processor.toml_file import explained_errors
from schemas.bounces import BounceRules, default_rules
from schemas.errors import ExplainedError
from schemas.providers import explain_validation

#: The variable with the path of a deployment's own file.
BOUNCE_RULES_VARIABLE = f"{ENVIRONMENT_PREFIX}BOUNCE_RULES"


class BounceRulesError(ExplainedError, ValueError):
    """A file of rules cannot be used; the text names it and the wrong line or field."""


@dataclass(frozen=True, slots=True)
class BounceRulesInForce:
    """The rules that a program uses, and the file they come from (None: the package)."""

    rules: BounceRules
    file: Path | None = None

    def __str__(self) -> str:
        """Return the version in words, like "version 3 (own.toml, over version 1)"."""
        origin = f" ({self.file}, over version {default_rules().version})" if self.file else ""
        return f"version {self.rules.version}{origin}"


def bounce_rules_in_force(settings: Settings) -> BounceRulesInForce:
    """Return the rules that the settings name. Raises `BounceRulesError`."""
    file = settings.bounce_rules
    if file is None:
        return BounceRulesInForce(default_rules())
    return read_bounce_rules(file, BOUNCE_RULES_VARIABLE)


def read_bounce_rules(file: Path, origin: str) -> BounceRulesInForce:
    """Return the rules of a file, before those of the package.

    `origin` is the option or variable that names the file, for the text of `BounceRulesError`.
    """
    with explained_errors(file, origin, BounceRulesError):
        text = file.read_text("utf-8")
        try:
            return BounceRulesInForce(BounceRules.parse(text, default_rules()), file)
        except ValidationError as error:
            raise BounceRulesError(f"{origin} {file}: {explain_validation(error)}") from None
