"""Why a message did not arrive and what to do, in plain words: causes, found by codes and texts.

The causes, the codes that stand for them, and the words for the statuses are data: `reasons.toml`,
which also explains its tables and names the sources of the codes.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from schemas.events import BounceClass, Channel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: A text says its reason at the beginning, and a page explains 50 of them.
_SEARCHED_CHARACTERS: Final = 2_000
_Words = Annotated[str, Field(min_length=1)]
#: Codes or phrases, by the name of the cause that they stand for.
_ByCause = dict[str, list[_Words]]


class _Phrases(NamedTuple):
    """Phrases in lower case, and a pattern for any of them as whole words."""

    phrases: list[str]
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, phrases: list[str]) -> _Phrases:
        pattern = rf"(?<![^\W_])(?:{'|'.join(map(re.escape, phrases))})(?![^\W_])"
        return cls(phrases, re.compile(pattern))

    def are_in(self, text: str) -> bool:
        """Return whether a lower-case text has one; the pattern is slow, so most end before it."""
        return any(phrase in text for phrase in self.phrases) and bool(self.pattern.search(text))


class Cause(BaseModel):
    """A cause: its stable name, what it is in words, and one sentence of advice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    words: _Words
    advice: _Words
    channels: list[Channel]
    #: The bounce classes that it may have; of a class that is not known it may be anything.
    classes: list[BounceClass] = []


class StatusMeaning(BaseModel):
    """What a status of a log means, and one sentence of advice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: _Words
    advice: _Words


class _Waiting(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    advice: _Words


class _ReasonsFile(BaseModel):
    """The layout of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    causes: dict[str, Cause]
    codes: dict[str, _ByCause]
    enhanced: _ByCause
    general: _ByCause
    phrases: dict[Channel, _ByCause]
    rules: dict[Channel, dict[str, str]]
    classes: dict[BounceClass, str]
    waiting: _Waiting
    progress: dict[Channel, dict[str, _Words]]
    statuses: dict[Channel, dict[str, StatusMeaning]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """The tables of causes, by what stands for them."""

    causes: Mapping[str, Cause]
    codes: Mapping[str, Mapping[str, Cause]]
    enhanced: Mapping[str, Cause]
    general: Mapping[str, Cause]
    phrases: Mapping[Channel, list[tuple[_Phrases, Cause]]]
    #: By the reason of the rule that decided a status, or by it after "else ".
    rules: Mapping[Channel, Mapping[str, Cause]]
    classes: Mapping[str, Cause]
    waiting_advice: str
    #: Words for the log's own reasons of messages that did not fail.
    progress: Mapping[Channel, Mapping[str, str]]
    statuses: Mapping[Channel, Mapping[str, StatusMeaning]]

    @classmethod
    def parse(cls, text: str) -> Reasons:
        """Return the tables of a TOML text.

        Raises `tomllib.TOMLDecodeError`, a pydantic `ValidationError` that names the entry, or
        `ValueError` for a cause that is not defined or a code with two of them.
        """
        file = _ReasonsFile.model_validate(tomllib.loads(text))
        causes = {
            name: cause.model_copy(update={"name": name}) for name, cause in file.causes.items()
        }
        return cls(
            causes=causes,
            codes={
                provider: _by_code(f"codes.{provider}", table, causes)
                for provider, table in file.codes.items()
            },
            enhanced=_by_code("enhanced", file.enhanced, causes),
            general=_by_code("general", file.general, causes),
            phrases={
                channel: [
                    (_Phrases.of(phrases), _named(f"phrases.{channel}", name, causes))
                    for name, phrases in table.items()
                ]
                for channel, table in file.phrases.items()
            },
            rules={
                channel: {
                    rule: _named(f"rules.{channel}", name, causes) for rule, name in table.items()
                }
                for channel, table in file.rules.items()
            },
            classes={
                name: _named("classes", cause, causes) for name, cause in file.classes.items()
            },
            waiting_advice=file.waiting.advice,
            progress=file.progress,
            statuses=file.statuses,
        )


@cache
def default_reasons() -> Reasons:
    """Return the tables that ship with the package."""
    path = resources.files("schemas").joinpath("reasons.toml")
    return Reasons.parse(path.read_text("utf-8"))


def explain_code(
    channel: Channel,
    provider: str = "",
    reason_code: str = "",
    enhanced_status: str = "",
    smtp_code: int | None = None,
    bounce_class: str = "",
    *,
    diagnostic: str = "",
    rule: str = "",
) -> Cause:
    """Return the cause of a failure by what the provider passed on, `unknown` if nothing tells.

    `diagnostic` is the provider's text; `rule` the reason in words of the log's rule that decided
    the status ("opted out"), which tells where there is no code. What is most exact decides: the
    code of a mail server, the provider's own, a phrase of the text, the group of a code, the rule,
    the class of the bounce. A cause that is not of that class is passed over.
    """
    reasons = default_reasons()
    rules = reasons.rules[channel]
    if cause := rules.get(rule):
        return cause
    for cause in _candidates(
        reasons, channel, provider, reason_code, enhanced_status, smtp_code, diagnostic
    ):
        if channel in cause.channels and _is_of_class(cause, bounce_class):
            return cause
    return (
        rules.get(f"else {rule}") or reasons.classes.get(bounce_class) or reasons.causes["unknown"]
    )


def _candidates(
    reasons: Reasons, channel: Channel, provider: str, reason_code: str, enhanced_status: str,
    smtp_code: int | None, diagnostic: str,
) -> Iterator[Cause]:  # fmt: skip
    """Yield the causes that codes and text stand for, the most exact first."""
    patterns = list(_patterns(enhanced_status))
    yield from _matches(reasons.enhanced, patterns)
    # Some providers write their numbers with zeros in front.
    codes = [reason_code, reason_code.lstrip("0")]
    yield from _matches(reasons.codes.get(provider, {}), codes)
    text = diagnostic[:_SEARCHED_CHARACTERS].lower()
    yield from (cause for phrases, cause in reasons.phrases[channel] if phrases.are_in(text))
    if channel == "email":
        yield from _matches(reasons.general, [*patterns, str(smtp_code or "")])


def _matches(table: Mapping[str, Cause], codes: list[str]) -> Iterator[Cause]:
    return (table[code] for code in codes if code in table)


def _is_of_class(cause: Cause, bounce_class: str) -> bool:
    return bounce_class in ("", "undetermined") or bounce_class in cause.classes


def _patterns(enhanced_status: str) -> Iterator[str]:
    """Yield the patterns that fit an enhanced status, the most exact first."""
    match enhanced_status.split("."):
        case [_, subject, detail]:
            yield f"x.{subject}.{detail}"
            yield f"x.{subject}.x"


def _by_code(table: str, by_cause: _ByCause, causes: Mapping[str, Cause]) -> Mapping[str, Cause]:
    """Return the cause of each code. Raises `ValueError` for a code with two."""
    by_code: dict[str, Cause] = {}
    for name, codes in by_cause.items():
        for code in codes:
            if code in by_code:
                raise ValueError(f"[{table}] has {code!r} twice")
            by_code[code] = _named(table, name, causes)
    return by_code


def _named(table: str, name: str, causes: Mapping[str, Cause]) -> Cause:
    if name not in causes:
        raise ValueError(f"[{table}] names {name!r}, which is none of [causes]")
    return causes[name]
