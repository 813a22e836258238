"""A bounce is hard, soft or block: by its codes, else by its text, else by the provider's label.

The rules are data, `bounces.toml`, which says what the classes mean. What a code means and how one
is found in a text is in `schemas.smtp_replies`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.events import BounceClass, ClassifiedBy
from schemas.smtp_replies import MEANINGS, codes_in, describe, joined, status_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "MEANINGS",
    "Rules",
    "Verdict",
    "classify",
    "codes_in",
    "default_rules",
    "describe",
    "status_in",
]

CodePattern = Annotated[
    str, StringConstraints(pattern=r"^([245]\d[\dx]|[245]xx|[245x]\.(\d|x)\.(\d{1,3}|x))$")
]
Phrase = Annotated[str, StringConstraints(to_lower=True, strip_whitespace=True, min_length=3)]
PhraseList = Annotated[list[Phrase], Field(min_length=1)]


class _Hint(BaseModel):
    """A class for a code that means something only together with one of some phrases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: CodePattern
    phrases: PhraseList
    bounce_class: BounceClass = Field(alias="class")


class _Phrases(NamedTuple):
    """Some phrases as one pattern, and what any of them means."""

    pattern: re.Pattern[str]
    bounce_class: BounceClass


class _File(BaseModel):
    """The layout of a rules file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules_version: int
    codes: dict[CodePattern, BounceClass] = {}
    hints: list[_Hint] = []
    phrases: dict[BounceClass, PhraseList] = {}


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in force: what `classify` looks things up in."""

    version: int
    codes: Mapping[str, BounceClass] = field(default_factory=dict)
    hints: Mapping[str, Sequence[_Phrases]] = field(default_factory=dict)
    phrases: Sequence[_Phrases] = ()

    @classmethod
    def parse(cls, text: str, base: Rules | None = None) -> Rules:
        """Return the rules of a TOML text; with `base`, they are asked before the base's own.

        Raises `tomllib.TOMLDecodeError` or a pydantic `ValidationError` that names the entry.
        """
        file = _File.model_validate(tomllib.loads(text))
        base = base or cls(version=0)
        hints = dict(base.hints)
        for hint in reversed(file.hints):
            added = _Phrases(_any_of(hint.phrases), hint.bounce_class)
            hints[hint.code] = (added, *hints.get(hint.code, ()))
        return cls(
            version=file.rules_version,
            codes={**base.codes, **file.codes},
            hints=hints,
            phrases=(
                *(_Phrases(_any_of(listed), name) for name, listed in file.phrases.items()),
                *base.phrases,
            ),
        )

    def of_code(self, code: str, text: str) -> tuple[BounceClass, str] | None:
        """Return the class of an enhanced status or reply code, by the most exact pattern.

        Beside it the phrase of the (lower-case) text that the class depends on, if it does.
        """
        for pattern in _patterns(code):
            for hint in self.hints.get(pattern, ()):
                if found := hint.pattern.search(text):
                    return hint.bounce_class, found[0]
            if pattern in self.codes:
                return self.codes[pattern], ""
        return None

    def of_text(self, text: str) -> tuple[BounceClass, str] | None:
        """Return the class of a lower-case text, and the phrase found in it."""
        for phrases in self.phrases:
            if found := phrases.pattern.search(text):
                return phrases.bounce_class, found[0]
        return None


@cache
def default_rules() -> Rules:
    """Return the rules that ship with the package."""
    return Rules.parse(resources.files("schemas").joinpath("bounces.toml").read_text("utf-8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a bounce is, what that rests on (None: on nothing), and why, in plain words."""

    bounce_class: BounceClass
    classified_by: ClassifiedBy | None
    reason: str


def classify(
    enhanced_status: str = "",
    smtp_code: int | None = None,
    text: str = "",
    label_class: BounceClass | None = None,
    rules: Rules | None = None,
) -> Verdict:
    """Classify a bounce from what the provider passed on.

    `text` is the diagnostic text, also searched for codes where none are given; `label_class` is
    the provider's own label put in our words. Where the label is overruled, the reason says so.
    """
    rules = rules or default_rules()
    lowered = text.lower()
    for smtp, enhanced in _readings(smtp_code, enhanced_status, text):
        if found := rules.of_code(enhanced or str(smtp), lowered):
            bounce_class, phrase = found
            if phrase:
                why = f'{joined(smtp, enhanced)} with "{phrase}"'
                return _verdict(bounce_class, "text", why, label_class)
            return _verdict(bounce_class, "code", describe(smtp, enhanced), label_class)
    if found := rules.of_text(lowered):
        bounce_class, phrase = found
        return _verdict(bounce_class, "text", f'the text says "{phrase}"', label_class)
    if label_class:
        return _verdict(label_class, "label", "the provider's own label", label_class)
    return _verdict("undetermined", None, "no code, phrase or label that says", None)


def _readings(
    smtp_code: int | None, enhanced_status: str, text: str
) -> Iterator[tuple[int | None, str]]:
    """Yield the codes to go by, in turn: the provider's, the text's, a reply code alone."""
    if enhanced_status:
        yield smtp_code, enhanced_status
    said_smtp, said_enhanced = codes_in(text)
    smtp_code = smtp_code or said_smtp
    if said_enhanced:
        yield smtp_code, said_enhanced
    if smtp_code:
        yield smtp_code, ""


def _verdict(
    bounce_class: BounceClass, by: ClassifiedBy | None, reason: str, label: BounceClass | None
) -> Verdict:
    overruled = f" (the label, {label}, was overruled)" if label not in (None, bounce_class) else ""
    return Verdict(bounce_class=bounce_class, classified_by=by, reason=reason + overruled)


def _patterns(code: str) -> Iterator[str]:
    """Yield the patterns that fit a code, the most exact first."""
    yield code
    match code.split("."):
        case [kind, subject, detail]:
            yield f"x.{subject}.{detail}"
            yield f"{kind}.{subject}.x"
            yield f"x.{subject}.x"
            yield f"{kind}.x.x"
        case [reply]:
            yield f"{reply[:2]}x"
            yield f"{reply[:1]}xx"


def _any_of(phrases: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for any of some lower-case phrases, as whole words over any white space."""
    words = (
        r"\s+".join(r"\S+" if word == "*" else re.escape(word) for word in phrase.split())
        for phrase in phrases
    )
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(words)})(?![^\W_])")
