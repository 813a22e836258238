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
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from schemas.events import BounceClass, ClassifiedBy
from schemas.smtp_replies import describe_codes, find_last_codes, format_codes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CodePattern = Annotated[
    str, StringConstraints(pattern=r"^([245]\d[\dx]|[245]xx|[245x]\.(\d|x)\.(\d{1,3}|x))$")
]
#: The class that a provider's label stands for; `refused` only says that it was refused for good.
LabelClass: TypeAlias = BounceClass | Literal["refused"]
_WORD = re.compile(r"[^\W_]+")
Phrase = Annotated[
    str, StringConstraints(to_lower=True, strip_whitespace=True, min_length=3, pattern=r"^[^\W_]")
]
PhraseList = Annotated[list[Phrase], Field(min_length=1)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class _Hint(BaseModel):
    """The class of a code, or of several, that mean something only together with some phrase."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: Annotated[list[CodePattern], BeforeValidator(_as_list), Field(min_length=1)]
    phrases: PhraseList
    bounce_class: BounceClass = Field(alias="class")


class _Phrases(NamedTuple):
    """Phrases, as a pattern for those that begin with a word, and the class they stand for.

    A text has some dozen words, and few of them begin a phrase: only for those a pattern is tried.
    """

    by_first_word: Mapping[str, re.Pattern[str]]
    bounce_class: BounceClass

    @classmethod
    def of(cls, phrases: Sequence[str], bounce_class: BounceClass) -> _Phrases:
        grouped: dict[str, list[str]] = {}
        for phrase in phrases:
            grouped.setdefault(_words_of(phrase)[0], []).append(phrase)
        patterns = {word: _phrase_pattern(group) for word, group in grouped.items()}
        return cls(patterns, bounce_class)

    def find(self, text: str, words: Sequence[str]) -> str | None:
        """Return a phrase in a lower-case text that consists of these words."""
        for word in words:
            if (pattern := self.by_first_word.get(word)) and (match := pattern.search(text)):
                return match[0]
        return None


class _RulesFile(BaseModel):
    """The layout of a rules file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules_version: int
    codes: dict[CodePattern, BounceClass] = {}
    misused_codes: dict[CodePattern, BounceClass] = {}
    hints: list[_Hint] = []
    phrases: dict[BounceClass, PhraseList] = {}


@dataclass(frozen=True, slots=True)
class BounceRules:
    """The bounce rules in force, by code and by phrase."""

    version: int
    codes: Mapping[str, BounceClass] = field(default_factory=dict)
    misused_codes: Mapping[str, BounceClass] = field(default_factory=dict)
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
            added = _Phrases.of(hint.phrases, hint.bounce_class)
            for code in hint.code:
                hints[code] = (added, *hints.get(code, ()))
        return cls(
            version=file.rules_version,
            # A code that a deployment decides is not asked about again.
            codes={**base.codes, **file.codes},
            misused_codes={**base.misused_codes, **file.misused_codes},
            hints=hints,
            phrases=(
                *(_Phrases.of(texts, name) for name, texts in file.phrases.items()),
                *base.phrases,
            ),
        )

    def classify_code(
        self, code: str, text: str, words: Sequence[str]
    ) -> tuple[BounceClass, str] | None:
        """Return the class of an enhanced status or reply code by the most exact pattern.

        With it comes the phrase in the lower-case `text`, which has these words, that the class
        depends on, else ''.
        """
        for pattern in _code_patterns(code):
            for hint in self.hints.get(pattern, ()):
                if phrase := hint.find(text, words):
                    return hint.bounce_class, phrase
            if pattern in self.codes:
                return self.codes[pattern], ""
        return None

    def classify_misused_code(self, code: str) -> BounceClass | None:
        """Return the class of a code that decides only where no phrase does."""
        patterns = _code_patterns(code)
        return next((self.misused_codes[p] for p in patterns if p in self.misused_codes), None)

    def classify_text(self, text: str, words: Sequence[str]) -> tuple[BounceClass, str] | None:
        """Return the class of a lower-case text, which has these words, and what decided."""
        for phrases in self.phrases:
            if phrase := phrases.find(text, words):
                return phrases.bounce_class, phrase
        return None


@cache
def default_rules() -> BounceRules:
    """Return the rules that ship with the package."""
    return BounceRules.parse(resources.files("schemas").joinpath("bounces.toml").read_text("utf-8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The class of a bounce, what it was classified by (None: by nothing), and why, in words.

    `code` and `phrase` are those that decided, '' where none did.
    """

    bounce_class: BounceClass
    classified_by: ClassifiedBy | None
    reason: str
    code: str = ""
    phrase: str = ""


def classify_bounce(
    enhanced_status: str = "",
    smtp_code: int | None = None,
    text: str = "",
    label_class: LabelClass | None = None,
    rules: BounceRules | None = None,
) -> Verdict:
    """Classify a bounce by what the provider passed on.

    `text` is the diagnostic text, also searched for codes if none are given; `label_class` is the
    class that the provider's label stands for. If it is overruled, the reason says so.
    """
    rules = rules or default_rules()
    lowered = text.lower()
    words = _words_of(lowered)
    candidates = list(_code_candidates(smtp_code, enhanced_status, text))
    for smtp, enhanced in candidates:
        code = enhanced or str(smtp)
        if match := rules.classify_code(code, lowered, words):
            bounce_class, phrase = match
            if phrase:
                reason = f'{format_codes(smtp, enhanced)} with "{phrase}"'
                return _verdict(bounce_class, "text", reason, label_class, code, phrase)
            reason = describe_codes(smtp, enhanced)
            return _verdict(bounce_class, "code", reason, label_class, code)
    if match := rules.classify_text(lowered, words):
        bounce_class, phrase = match
        reason = f'the text says "{phrase}"'
        return _verdict(bounce_class, "text", reason, label_class, phrase=phrase)
    return _verdict_without_text(candidates, label_class, rules)


def _verdict_without_text(
    candidates: Sequence[tuple[int | None, str]],
    label_class: LabelClass | None,
    rules: BounceRules,
) -> Verdict:
    """Classify by what is left where no phrase decides: misused codes, the label, a 5 alone."""
    for smtp, enhanced in candidates:
        code = enhanced or str(smtp)
        if misused := rules.classify_misused_code(code):
            return _verdict(misused, "code", describe_codes(smtp, enhanced), label_class, code)
    if label_class and label_class != "refused":
        return _verdict(label_class, "label", "the provider's own label", label_class)
    for smtp, enhanced in candidates:
        if (enhanced or str(smtp)).startswith("5"):
            reason = f"{describe_codes(smtp, enhanced)}; nothing names the cause"
            return _verdict("block", "refusal", reason, label_class)
    if label_class:
        return _verdict("block", "refusal", "refused for good; nothing names the cause", None)
    return _verdict("undetermined", None, "no code, phrase or label that says", None)


def _code_candidates(
    smtp_code: int | None, enhanced_status: str, text: str
) -> Iterator[tuple[int | None, str]]:
    """Yield the codes to classify by, in turn: the text's, the provider's, a reply code alone.

    A server's own reply is more telling than the field that a reporting server made of it.
    """
    text_code, text_status = find_last_codes(text)
    if text_status:
        yield text_code or smtp_code, text_status
    if enhanced_status and enhanced_status != text_status:
        yield smtp_code or text_code, enhanced_status
    if reply := text_code or smtp_code:
        yield reply, ""


def _verdict(
    bounce_class: BounceClass,
    classified_by: ClassifiedBy | None,
    reason: str,
    label_class: LabelClass | None,
    code: str = "",
    phrase: str = "",
) -> Verdict:
    if label_class not in (None, "refused", bounce_class):
        reason += f" (the label, {label_class}, was overruled)"
    return Verdict(
        bounce_class=bounce_class, classified_by=classified_by, reason=reason, code=code,
        phrase=phrase,
    )  # fmt: skip


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


def _words_of(text: str) -> list[str]:
    """Return the words of a text, each once: a phrase is looked for once, not at every place."""
    return list(dict.fromkeys(_WORD.findall(text)))


def _phrase_pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for any of the lower-case phrases, as whole words over any white space."""
    words = (
        r"\s+".join(re.escape(word).replace(r"\*", r"\S+") for word in phrase.split())
        for phrase in phrases
    )
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(words)})(?![^\W_])")
