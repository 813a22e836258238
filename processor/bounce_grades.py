"""How the bounce rules did: their verdicts held against what became of the addresses.

A hard bounce is wrong if its address was delivered to later. A soft one, or a refusal without a
cause, is wrong if its address never recovered. Where that happens often enough a rule is proposed,
always the milder one for a hard bounce: a healthy address that is blacklisted is never written to.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from pydantic_core import to_json

from schemas.bounces import BounceRules, Verdict
from schemas.events import BounceClass
from schemas.providers import adapters, verdict

#: Of so many addresses that were called hard, one that recovered is one too many.
MAX_RECOVERED_SHARE: Final = 0.1
#: So many of the addresses that were called soft, or refused, must be failing for good.
MIN_FAILING_SHARE: Final = 0.9
#: Words of a phrase that is proposed.
PHRASE_WORDS: Final = range(2, 7)
#: The sets of addresses in a row of `bounce_outcomes`.
_COUNTED: Final = ("addresses", "recovered", "failing")
#: What differs from reply to reply: addresses, hosts, codes, ids.
_VARIABLE: Final = re.compile(r"\S*[^\w\s'-]\S*|\S*\d\S*")


class _Decider(NamedTuple):
    """What a verdict rested on: code, phrase or both; else words that say nothing to a rule yet."""

    bounce_class: BounceClass
    by: str
    code: str
    phrase: str


@dataclass(frozen=True, slots=True)
class Grade:
    """How many addresses were classified by one thing, and what became of them."""

    decider: _Decider
    addresses: int
    recovered: int
    failing: int

    @property
    def basis(self) -> str:
        """What the verdicts rested on, in words."""
        decider = self.decider
        parts = [decider.code, f'"{decider.phrase}"' if decider.phrase else ""]
        return " with ".join(filter(None, parts)) or decider.by

    def proposed_class(self, min_addresses: int) -> Literal["hard", "block"] | None:
        """Return the class that would have been right more often, if enough addresses say so."""
        if self.addresses < min_addresses:
            return None
        if self.decider.bounce_class == "hard":
            return "block" if self.recovered > self.addresses * MAX_RECOVERED_SHARE else None
        is_temporary = self.decider.bounce_class == "soft" or self.decider.by == "refusal"
        is_failing = not self.recovered and self.failing >= self.addresses * MIN_FAILING_SHARE
        return "hard" if is_temporary and is_failing else None


def grades_of(rows: Iterable[Mapping[str, Any]], rules: BounceRules) -> list[Grade]:
    """Return the grades of `rules`, those of most addresses first.

    `rows` are those of `bounce_outcomes`.
    """
    sets: defaultdict[_Decider, tuple[set[int], ...]] = defaultdict(lambda: (set(), set(), set()))
    for row in rows:
        decider = _decider_of(verdict(adapters()[row["provider"]], row, rules), row["diagnostic"])
        for name, hashes in zip(_COUNTED, sets[decider], strict=True):
            hashes.update(row[name])
    grades = [
        Grade(decider, len(addresses), len(recovered), len(failing - recovered))
        for decider, (addresses, recovered, failing) in sets.items()
    ]
    return sorted(grades, key=lambda grade: (-grade.addresses, grade.decider))


def _decider_of(outcome: Verdict, text: str) -> _Decider:
    by = outcome.classified_by or "nothing"
    phrase = outcome.phrase or ("" if outcome.code else common_words(text))
    return _Decider(outcome.bounce_class, by, outcome.code, phrase)


def common_words(text: str) -> str:
    """Return the longest run of words in a reply that others of its kind share, or ''."""
    runs = (run.split() for run in _VARIABLE.split(text.lower()))
    words = max(runs, key=len, default=[])
    return " ".join(words[: PHRASE_WORDS[-1]]) if len(words) >= PHRASE_WORDS[0] else ""


def proposed_rules(grades: Iterable[Grade], version: int, min_addresses: int) -> str:
    """Return a rules file (TOML) with the rules that would have been right more often, or ''."""
    proposals = [
        (grade, proposed) for grade in grades
        if (proposed := grade.proposed_class(min_addresses))
        and (grade.decider.code or grade.decider.phrase)
    ]  # fmt: skip
    if not proposals:
        return ""
    lines = [f"rules_version = {version + 1}"]
    codes = [(grade, name) for grade, name in proposals if not grade.decider.phrase]
    if codes:
        lines += ["", "[codes]"]
        lines += [f'{_quoted(g.decider.code)} = "{name}"  # {_support(g)}' for g, name in codes]
    for grade, name in proposals:
        if grade.decider.code and grade.decider.phrase:
            lines += [
                "", f"[[hints]] # {_support(grade)}", f"code = {_quoted(grade.decider.code)}",
                f"phrases = [{_quoted(grade.decider.phrase)}]", f'class = "{name}"',
            ]  # fmt: skip
    lines += _phrase_lines([(g, name) for g, name in proposals if not g.decider.code])
    return "\n".join(lines) + "\n"


def _phrase_lines(proposals: list[tuple[Grade, Literal["hard", "block"]]]) -> Iterator[str]:
    if proposals:
        yield from ("", "[phrases]")
    for name in ("block", "hard"):
        grades = [grade for grade, proposed in proposals if proposed == name]
        if grades:
            yield f"{name} = ["
            for grade in grades:
                yield f"  {_quoted(grade.decider.phrase)},  # {_support(grade)}"
            yield "]"


def _support(grade: Grade) -> str:
    if grade.decider.bounce_class == "hard":
        return f"{grade.recovered:,} of {grade.addresses:,} addresses recovered"
    return f"{grade.failing:,} of {grade.addresses:,} addresses never recovered"


def _quoted(text: str) -> str:
    return to_json(text).decode()
