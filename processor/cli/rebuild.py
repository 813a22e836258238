"""`sendlog rebuild`: refold logs from the event store; with --reclassify by other bounce rules."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from processor.bounce_rules import InForce, in_force
from processor.clickhouse import client_of, target_of
from processor.kafka.topics import feed_topic
from processor.settings import load
from projections.clickhouse import rebuild as rebuilding
from projections.clickhouse import reclassify as judging
from projections.clickhouse.ddl import Target
from projections.tables import Projection, projections
from schemas.providers import adapters

_status = Console(stderr=True)


def rebuild(
    logs: Annotated[
        list[str] | None, typer.Argument(help="email_log, sms_log; all if none")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would change, and change nothing.")
    ] = False,
    reclassify: Annotated[
        bool,
        typer.Option("--reclassify", help="Judge bounces of the past by the rules in force now."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="With --reclassify: do not ask before it is done.")
    ] = False,
) -> None:
    """Refold logs from the event store, report what changed, and swap the result in.

    The worker may go on meanwhile: nothing that arrives is missed, and readers see the old log
    until the new one takes its place in one step.

    With --reclassify, bounces that providers reported get the class that the rules in force give
    them (SENDLOG_BOUNCE_RULES over those built in); what a mailer said itself stays. The facts and
    rows that change are shown first. Start workers with the new rules before.
    """
    settings = load()
    asked = in_force(settings)
    target, client = target_of(settings), client_of(settings)
    named = _named(logs or [], reclassify=reclassify)
    if not reclassify:
        for log in named:
            counts = _report(log, _refold(client, target, log, None))
            if dry_run:
                rebuilding.discard(client, target, log)
                print(f"{log.name}: would change: {counts}")
            else:
                rebuilding.swap(client, target, log)
                print(f"{log.name}: rebuilt; {counts}")
        return
    _judge(client, target, asked)
    instead = judging.instead(target)
    for log in named:
        print(f"{log.name}: {_report(log, _refold(client, target, log, instead))}")
    if dry_run or not (yes or _agreed()):
        for log in named:
            rebuilding.discard(client, target, log)
        judging.discard(client, target)
        print("nothing was changed")
        return
    _apply(client, target, named)


def _named(names: Sequence[str], *, reclassify: bool) -> list[Projection]:
    """Return the logs to rebuild. Raises `typer.BadParameter` for one that is none."""
    known = projections()
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"no log {name!r}; there are: {', '.join(known)}")
    if not reclassify:
        return [known[name] for name in names or known]
    concerned = [log for log in known.values() if judging.concerns(log)]
    if names and {*names} != {log.name for log in concerned}:
        every = ", ".join(log.name for log in concerned)
        raise typer.BadParameter(f"--reclassify is about all logs that hold bounces: {every}")
    return concerned


def _judge(client: Any, target: Target, asked: InForce) -> None:
    """Find the facts that change, and report them."""
    feeds = {name: feed_topic(each.CHANNEL, name) for name, each in adapters().items()}
    steps = judging.judge(client, target, asked.rules, feeds)
    _show(steps, "judging bounces", "bounces")
    print(f"rules: {asked}")
    changes = judging.changes(client, target)
    for change in changes:
        print(
            f"facts: {change.facts:,} {change.before} ({change.before_by or 'nothing'}) → "
            f"{change.after} ({change.after_by or 'nothing'})"
        )
    print(f"facts: {sum(change.facts for change in changes):,} bounces get another verdict")


def _refold(
    client: Any, target: Target, log: Projection, instead: rebuilding.Instead | None
) -> list[rebuilding.Change]:
    """Fold a log beside the live one, and return what differs."""
    steps = rebuilding.rebuild(client, target, log, instead)
    _show(steps, f"folding {log.name}", "facts")
    with _status.status(f"comparing {log.name}"):
        return rebuilding.differences(client, target, log)


def _show(steps: Iterator[rebuilding.Progress], what: str, things: str) -> None:
    with Progress(
        TextColumn("{task.description}"), BarColumn(),
        TextColumn("{task.fields[facts]:,} " + things), TimeElapsedColumn(), console=_status,
    ) as progress:  # fmt: skip
        task = progress.add_task(what, facts=0)
        for step in steps:
            progress.update(task, completed=step.done, total=step.total, facts=step.facts)


def _report(log: Projection, changes: list[rebuilding.Change]) -> str:
    """Print which rows differ, and how many more or fewer there are of each status; return sums."""
    for change in changes:
        print(
            f"{log.name}: {change.rows:,} rows {change.before or '(none)'} → "
            f"{change.after or '(none)'} ({', '.join(change.columns)})"
        )
    balance: Counter[str] = Counter()
    for change in changes:
        balance[change.after] += change.rows
        balance[change.before] -= change.rows
    if moved := [f"{name} {n:+,}" for name, n in sorted(balance.items()) if name and n]:
        print(f"{log.name}: rows by status: {', '.join(moved)}")
    return ", ".join(f"{n:,} {what}" for what, n in rebuilding.totals(changes).items())


def _agreed() -> bool:
    """Ask a person whether to go on; where nobody can answer, it goes on, as any rebuild does."""
    if not sys.stdin.isatty():
        return True
    try:
        return typer.confirm("Apply this to history?")
    except typer.Abort:
        return False


def _apply(client: Any, target: Target, logs: Sequence[Projection]) -> None:
    """Swap the logs in, then replace the facts; in this order no reader sees a mixture."""
    for log in logs:
        rebuilding.swap(client, target, log)
    with _status.status("storing the changed facts"):
        judging.store(client, target)
    with _status.status("deleting the facts they replace"):
        judging.delete(client, target)
    judging.discard(client, target)
    print("reclassified")
