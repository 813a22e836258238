"""`sendlog rebuild`: refold logs from the event store; with --reclassify by other bounce rules."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from processor.bounce_rules import BounceRulesInForce, bounce_rules_in_force
from processor.cli.suppression_options import actor_of
from processor.clickhouse import client_of, target_of
from processor.kafka.topics import provider_feeds
from processor.settings import Settings, load
from processor.suppression_commands import new_command, publish_commands
from projections.clickhouse import rebuild, reclassify
from projections.clickhouse.ddl import Target
from projections.tables import Projection, projections
from schemas.addresses import shown_address

_status = Console(stderr=True)
#: Entries of the blacklist that are reported one by one.
MAX_REPORTED_ENTRIES = 20


def rebuild_logs(
    logs: Annotated[
        list[str] | None, typer.Argument(help="email_log, sms_log; all if none")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would change, and change nothing.")
    ] = False,
    judge_bounces: Annotated[
        bool,
        typer.Option("--reclassify", help="Judge bounces of the past by the rules in force now."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="With --reclassify: do not ask before it is done.")
    ] = False,
    lift: Annotated[
        bool,
        typer.Option("--lift", help="With --reclassify: reset whom only mistaken classes listed."),
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Discard a rebuild that somebody else has begun.")
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
    rules = bounce_rules_in_force(settings)
    target, client = target_of(settings), client_of(settings)
    chosen = _chosen_logs(logs or [], judge_bounces=judge_bounces)
    if judge_bounces:
        mistaken = _reclassify(
            client, target, chosen, rules, dry_run=dry_run, yes=yes, take_over=take_over
        )
        if lift:
            _lift(settings, mistaken, f"reclassified by rules {rules}")
    else:
        _rebuild(client, target, chosen, dry_run=dry_run, take_over=take_over)


def _rebuild(
    client: Any, target: Target, logs: Sequence[Projection], *, dry_run: bool, take_over: bool
) -> None:
    """Refold logs, report what changed, and swap the result in unless it is a `dry_run`."""
    for log in logs:
        run = _begin(client, target, log, take_over=take_over)
        counts = _report_row_changes(log, _refold_and_compare(run, None))
        if dry_run:
            run.discard()
            print(f"{log.name}: would change: {counts}")
        else:
            run.swap()
            print(f"{log.name}: rebuilt; {counts}")


def _reclassify(
    client: Any,
    target: Target,
    logs: Sequence[Projection],
    rules: BounceRulesInForce,
    *,
    dry_run: bool,
    yes: bool,
    take_over: bool,
) -> list[reclassify.MistakenEntry]:
    """Judge past bounces by `rules`, report what changes, and apply it if that is confirmed.

    Returns the entries of the blacklist that it leaves without a reason; none if it is not applied.
    """
    # First, for two runs would share the tables of verdicts.
    runs = [_begin(client, target, log, take_over=take_over) for log in logs]
    _report_class_changes(client, target, rules)
    mistaken = reclassify.mistaken_entries(client, target)
    _report_mistaken(mistaken)
    replacement = reclassify.replacement(target)
    for run in runs:
        changes = _refold_and_compare(run, replacement)
        print(f"{run.log.name}: {_report_row_changes(run.log, changes)}")
    if dry_run or not (yes or _confirm()):
        for run in runs:
            run.discard()
        reclassify.discard_work_tables(client, target)
        print("nothing was changed")
        return []
    _apply_reclassification(client, target, runs)
    return mistaken


def _chosen_logs(names: Sequence[str], *, judge_bounces: bool) -> list[Projection]:
    """Return the logs to rebuild. Raises `typer.BadParameter` for a name that is not a log."""
    logs = projections()
    for name in names:
        if name not in logs:
            raise typer.BadParameter(f"no log {name!r}; there are: {', '.join(logs)}")
    if not judge_bounces:
        return [logs[name] for name in names or logs]
    with_bounces = [log for log in logs.values() if reclassify.holds_bounces(log)]
    if names and {*names} != {log.name for log in with_bounces}:
        listing = ", ".join(log.name for log in with_bounces)
        raise typer.BadParameter(f"--reclassify is about all logs that hold bounces: {listing}")
    return with_bounces


def _report_class_changes(client: Any, target: Target, rules: BounceRulesInForce) -> None:
    """Find the events whose class changes, and report them."""
    steps = reclassify.classify_history(client, target, rules.rules, provider_feeds())
    _show_progress(steps, "judging bounces", "bounces")
    print(f"rules: {rules}")
    changes = reclassify.class_changes(client, target)
    for change in changes:
        print(
            f"facts: {change.events:,} {change.before} ({change.before_by or 'nothing'}) → "
            f"{change.after} ({change.after_by or 'nothing'})"
        )
    print(f"facts: {sum(change.events for change in changes):,} bounces get another verdict")


def _report_mistaken(mistaken: Sequence[reclassify.MistakenEntry]) -> None:
    """Print whom the old classes have blacklisted."""
    for entry in mistaken[:MAX_REPORTED_ENTRIES]:
        tenant, _, address = entry.address
        others = [rule for rule in entry.rules if rule != "hard_bounce"]
        also = f", also by {', '.join(others)}" if others else ""
        print(
            f"blacklist: {shown_address(address)} of {tenant} since {entry.since:%Y-%m-%d %H:%M} "
            f"by hard_bounce{also}"
        )
    if mistaken:
        print(
            f"blacklist: {len(mistaken):,} addresses are listed for bounces that are not hard; "
            "--lift resets those listed for nothing else"
        )


def _lift(settings: Settings, mistaken: Sequence[reclassify.MistakenEntry], reason: str) -> None:
    """Reset those that nothing else has listed: a reset would lift that, too."""
    commands = [
        new_command("reset", entry.address, actor=actor_of(""), reason=reason)
        for entry in mistaken
        if entry.rules == ("hard_bounce",)
    ]
    publish_commands(settings.kafka, commands)
    print(f"blacklist: {len(commands):,} resets published")


def _begin(client: Any, target: Target, log: Projection, *, take_over: bool) -> rebuild.Rebuild:
    run = rebuild.begin(client, target, log, take_over=take_over)
    for table in run.discarded:
        print(f"{log.name}: discarded {table}, which another rebuild has left")
    return run


def _refold_and_compare(
    run: rebuild.Rebuild, replacement: rebuild.Replacement | None
) -> list[rebuild.RowChange]:
    """Fold a log beside the live one, and return the differences."""
    _show_progress(run.fold(replacement), f"folding {run.log.name}", "facts")
    with _status.status(f"comparing {run.log.name}"):
        return run.row_changes()


def _show_progress(steps: Iterator[rebuild.RebuildProgress], description: str, unit: str) -> None:
    with Progress(
        TextColumn("{task.description}"), BarColumn(),
        TextColumn("{task.fields[facts]:,} " + unit), TimeElapsedColumn(), console=_status,
    ) as progress:  # fmt: skip
        task = progress.add_task(description, facts=0)
        for step in steps:
            progress.update(task, completed=step.done, total=step.total, facts=step.events)


def _report_row_changes(log: Projection, changes: list[rebuild.RowChange]) -> str:
    """Print which rows differ, and the balance of each status; return the totals."""
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
    return ", ".join(f"{n:,} {change}" for change, n in rebuild.change_totals(changes).items())


def _confirm() -> bool:
    """Ask a person whether to go on. Without a terminal it goes on, as any rebuild does."""
    if not sys.stdin.isatty():
        return True
    try:
        return typer.confirm("Apply this to history?")
    except typer.Abort:
        return False


def _apply_reclassification(client: Any, target: Target, runs: Sequence[rebuild.Rebuild]) -> None:
    """Swap the logs in, then replace the events; in this order no reader sees a mixture."""
    for run in runs:
        run.swap()
    with _status.status("storing the changed facts"):
        reclassify.store_replacements(client, target)
    with _status.status("deleting the facts they replace"):
        reclassify.delete_replaced(client, target)
    reclassify.discard_work_tables(client, target)
    print("reclassified")
