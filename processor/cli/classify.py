"""`sendlog classify`: the class of a bounce, and what it rests on."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Final, get_args

import typer

from processor.bounce_rules import BounceRulesInForce, bounce_rules_in_force, read_bounce_rules
from processor.settings import load
from schemas.bounces import BounceRules, classify_bounce
from schemas.errors import ExplainedError
from schemas.events import BounceClass
from schemas.smtp_replies import find_codes, format_codes, leading_status

_REPLY_CODE: Final = re.compile(r"[245][0-9][0-9]", re.ASCII)
_LABELS: Final[dict[str, BounceClass]] = {
    name: name for name in get_args(BounceClass) if name != "undetermined"
}


class OptionError(ExplainedError, ValueError):
    """An option has a wrong value; the text names the option, the value and what it takes."""


def classify_text(
    text: Annotated[
        str, typer.Argument(help="What the server said, as '550 5.1.1 user unknown'.")
    ] = "",
    enhanced: Annotated[
        str | None, typer.Option(metavar="X.Y.Z", help="The provider's enhanced status code.")
    ] = None,
    smtp: Annotated[
        str | None, typer.Option(metavar="CODE", help="The provider's SMTP reply code.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="|".join(_LABELS), help="The provider's own verdict, in our words."),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your own rules (TOML), asked before those built in; else SENDLOG_BOUNCE_RULES.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A reply on each line, - for standard input; a table."),
    ] = None,
) -> None:
    """Say whether a bounce is hard, soft or block, and what that rests on."""
    if file is not None:
        if text.strip():
            raise OptionError("--file and a text at once: give one of them")
        _print_table(file, _parse_label(label), _rules_of(rules).rules)
        return
    if not text.strip() and enhanced is smtp is label is None:
        raise OptionError("nothing to classify; give a text, --file, --enhanced, --smtp or --label")
    status, code, label_class = _parse_enhanced(enhanced), _parse_smtp(smtp), _parse_label(label)
    rules_in_force = _rules_of(rules)
    verdict = classify_bounce(status, code, text, label_class, rules_in_force.rules)
    codes = {"given": format_codes(code, status), "in the text": format_codes(*find_codes(text))}
    fields = {
        "class": verdict.bounce_class,
        "rests on": verdict.classified_by or "nothing",
        "codes": ", ".join(f"{words} ({origin})" for origin, words in codes.items() if words)
        or "none",
        # A phrase is quoted from the text, where it may span two lines.
        "reason": " ".join(verdict.reason.split()),
        "rules": str(rules_in_force),
    }
    for name, value in fields.items():
        print(f"{name:<9} {value}")


def _rules_of(file: Path | None) -> BounceRulesInForce:
    return bounce_rules_in_force(load()) if file is None else read_bounce_rules(file, "--rules")


def _print_table(file: Path, label: BounceClass | None, rules: BounceRules | None) -> None:
    """Print the class of each reply of a file, and how many there are of each class."""
    try:
        source = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8", "replace")
    except OSError as error:
        raise OptionError(f"--file {file}: {(error.strerror or str(error)).lower()}") from None
    counts: Counter[str] = Counter()
    for reply in filter(None, map(str.strip, source.splitlines())):
        verdict = classify_bounce(text=reply, label_class=label, rules=rules)
        counts[verdict.bounce_class] += 1
        print(f"{verdict.bounce_class:<12} {verdict.classified_by or 'nothing':<8} {reply}")
    totals = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    print(f"{counts.total()} replies: {totals}" if counts else "no replies", file=sys.stderr)


def _parse_enhanced(value: str | None) -> str:
    if value is None:
        return ""
    status = leading_status(value)
    if not status or status != value.strip():
        raise OptionError(f"--enhanced {value!r} is no enhanced status code; write it as 5.1.1")
    return status


def _parse_smtp(value: str | None) -> int | None:
    if value is None:
        return None
    if not _REPLY_CODE.fullmatch(value.strip()):
        raise OptionError(f"--smtp {value!r} is no SMTP reply code; write it as 550")
    return int(value)


def _parse_label(value: str | None) -> BounceClass | None:
    if value is None:
        return None
    if value.lower() not in _LABELS:
        raise OptionError(f"--label {value!r} is no class; it takes {', '.join(_LABELS)}")
    return _LABELS[value.lower()]
