"""Classify a bounce as hard, soft or block: by its codes, its text, or the provider's label.

The bounce rules are data: `bounces.toml`, which also explains the classes. `schemas.smtp_replies`
finds codes in a text and knows their meaning.
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
from schemas.smtp_replies import describe_codes, find_codes, format_codes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CodePattern = Annotated[
    str, StringConstraints(pattern=r"^([245]\d[\dx]|[245]xx|[245x]\.(\d|x)\.(\d{1,3}|x))$")
]
Phrase = Annotated[str, StringConstraints(to_lower=True, strip_whitespace=True, min_length=3)]
PhraseList = Annotated[list[Phrase], Field(min_length=1)]


class _Hint(BaseModel):
    """The class of a code that means something only together with one of some phrases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: CodePattern
    phrases: PhraseList
    bounce_class: BounceClass = Field(alias="class")


class _Phrases(NamedTuple):
    """Phrases as one pattern, and the class that any of them stands for."""

    pattern: re.Pattern[str]
    bounce_class: BounceClass


class _RulesFile(BaseModel):
    """The layout of a rules file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules_version: int
    codes: dict[CodePattern, BounceClass] = {}
    hints: list[_Hint] = []
    phrases: dict[BounceClass, PhraseList] = {}


@dataclass(frozen=True, slots=True)
class BounceRules:
    """The bounce rules in force, by code and by phrase."""

    version: int
    codes: Mapping[str, BounceClass] = field(default_factory=dict)
    hints: Mapping[str, Sequence[_Phrases]] = field(default_factory=dict)
    phrases: Sequence[_Phrases] = ()

    @classmethod
    def parse(cls, text: str, base: BounceRules | None = None) -> BounceRules:
        """Return the rules of a TOML text, which take precedence over those of `base`.

        Raises `tomllib.TOMLDecodeError` or a pydantic `ValidationError` that names the entry.
        """
        file = _RulesFile.model_validate(tomllib.loads(text))
        base = base or cls(version=0)
        hints = dict(base.hints)
        for hint in reversed(file.hints):
            added = _Phrases(_phrase_pattern(hint.phrases), hint.bounce_class)
            hints[hint.code] = (added, *hints.get(hint.code, ()))
        return cls(
            version=file.rules_version,
            codes={**base.codes, **file.codes},
            hints=hints,
            phrases=(
                *(_Phrases(_phrase_pattern(texts), name) for name, texts in file.phrases.items()),
                *base.phrases,
            ),
        )

    def classify_code(self, code: str, text: str) -> tuple[BounceClass, str] | None:
        """Return the class of an enhanced status or reply code by the most exact pattern.

        With it comes the phrase in the lower-case `text` that the class depends on, else ''.
        """
        for pattern in _code_patterns(code):
            for hint in self.hints.get(pattern, ()):
                if match := hint.pattern.search(text):
                    return hint.bounce_class, match[0]
            if pattern in self.codes:
                return self.codes[pattern], ""
        return None

    def classify_text(self, text: str) -> tuple[BounceClass, str] | None:
        """Return the class of a lower-case text, and the phrase that decided."""
        for phrases in self.phrases:
            if match := phrases.pattern.search(text):
                return phrases.bounce_class, match[0]
        return None


@cache
def default_rules() -> BounceRules:
    """Return the rules that ship with the package."""
    return BounceRules.parse(resources.files("schemas").joinpath("bounces.toml").read_text("utf-8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The class of a bounce, what it was classified by (None: by nothing), and why, in words."""

    bounce_class: BounceClass
    classified_by: ClassifiedBy | None
    reason: str


def classify_bounce(
    enhanced_status: str = "",
    smtp_code: int | None = None,
    text: str = "",
    label_class: BounceClass | None = None,
    rules: BounceRules | None = None,
) -> Verdict:
    """Classify a bounce by what the provider passed on.

    `text` is the diagnostic text, also searched for codes if none are given; `label_class` is the
    class that the provider's label stands for. If it is overruled, the reason says so.
    """
    rules = rules or default_rules()
    lowered = text.lower()
    for smtp, enhanced in _code_candidates(smtp_code, enhanced_status, text):
        if match := rules.classify_code(enhanced or str(smtp), lowered):
            bounce_class, phrase = match
            if phrase:
                reason = f'{format_codes(smtp, enhanced)} with "{phrase}"'
                return _verdict(bounce_class, "text", reason, label_class)
            return _verdict(bounce_class, "code", describe_codes(smtp, enhanced), label_class)
    if match := rules.classify_text(lowered):
        bounce_class, phrase = match
        return _verdict(bounce_class, "text", f'the text says "{phrase}"', label_class)
    if label_class:
        return _verdict(label_class, "label", "the provider's own label", label_class)
    return _verdict("undetermined", None, "no code, phrase or label that says", None)


def _code_candidates(
    smtp_code: int | None, enhanced_status: str, text: str
) -> Iterator[tuple[int | None, str]]:
    """Yield the codes to classify by, in turn: the provider's, the text's, a reply code alone."""
    if enhanced_status:
        yield smtp_code, enhanced_status
    text_code, text_status = find_codes(text)
    smtp_code = smtp_code or text_code
    if text_status:
        yield smtp_code, text_status
    if smtp_code:
        yield smtp_code, ""


def _verdict(
    bounce_class: BounceClass,
    classified_by: ClassifiedBy | None,
    reason: str,
    label_class: BounceClass | None,
) -> Verdict:
    if label_class not in (None, bounce_class):
        reason += f" (the label, {label_class}, was overruled)"
    return Verdict(bounce_class=bounce_class, classified_by=classified_by, reason=reason)


def _code_patterns(code: str) -> Iterator[str]:
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


def _phrase_pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for any of the lower-case phrases, as whole words over any white space."""
    words = (
        r"\s+".join(r"\S+" if word == "*" else re.escape(word) for word in phrase.split())
        for phrase in phrases
    )
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(words)})(?![^\W_])")
