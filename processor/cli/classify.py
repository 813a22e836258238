"""`sendlog classify`: the class of a bounce, what it rests on, and whether that was right."""

from __future__ import annotations

import re
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import typer
from typer.core import TyperGroup

from processor.bounce_grades import grades_of, proposed_rules
from processor.bounce_rules import BounceRulesInForce, bounce_rules_in_force, read_bounce_rules
from processor.cli.options import OptionError
from processor.cli.times import parse_since
from processor.clickhouse import client_of, target_of
from processor.kafka.topics import provider_feeds
from processor.settings import load
from projections.queries.bounce_outcomes import bounce_outcomes
from schemas.bounces import BounceRules, classify_bounce
from schemas.events import BounceClass
from schemas.smtp_replies import find_codes, format_codes, leading_status

_REPLY_CODE: Final = re.compile(r"[245][0-9][0-9]", re.ASCII)
_LABELS: Final[dict[str, BounceClass]] = {
    name: name for name in get_args(BounceClass) if name != "undetermined"
}


_TEXT_COMMAND: Final = "text"


class _TextOrCommand(TyperGroup):
    """The commands; what is none of them is a text to classify."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command that classifies a text before its arguments."""
        if not args or args[0] not in {*self.commands, "--help", "-h"}:
            args = [_TEXT_COMMAND, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_TextOrCommand, add_completion=False, pretty_exceptions_enable=False,
    help="Say whether a bounce is hard, soft or block: sendlog classify '550 5.1.1 user unknown'.",
)  # fmt: skip


@app.command(_TEXT_COMMAND)
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


@app.command("grade")
def grade_rules(
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant; else of all.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Of bounces from this time on, UTC; else of all.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rules to grade; else those in force.")
    ] = None,
    min_addresses: Annotated[
        int, typer.Option(min=1, help="Propose a rule from so many addresses on.")
    ] = 5,
    days: Annotated[
        int, typer.Option(min=1, help="Who bounces for so long has not recovered.")
    ] = 7,
) -> None:
    """Hold the rules against what became of the addresses, and propose rules that fit better.

    A table for each thing that decided a class, then the proposals as a rules file: copy what you
    agree with, and try it with `sendlog rebuild --reclassify --dry-run`.
    """
    in_force, settings = _rules_of(rules), load()
    start: datetime | None = parse_since(since)
    rows = bounce_outcomes(
        client_of(settings), target_of(settings), provider_feeds(), tenant=tenant, since=start,
        failing_days=days,
    )  # fmt: skip
    grades = grades_of(rows, in_force.rules)
    print(f"{'class':<13}{'addresses':>9}{'recovered':>11}{'failing':>9}  rests on")
    for grade in grades:
        print(
            f"{grade.decider.bounce_class:<13}{grade.addresses:>9,}{grade.recovered:>11,}"
            f"{grade.failing:>9,}  {grade.basis}"
        )
    if lines := proposed_rules(grades, in_force.rules.version, min_addresses):
        print(f"\n# Proposed by {min_addresses} addresses or more each; rules: {in_force}")
        print(lines, end="")


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
