"""`sendlog migrate`, `rebuild`, `topics apply|check`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from processor import topics
from processor.app import client_of
from processor.settings import Settings, load
from projections import rebuild as rebuilding
from projections.ddl import Target
from projections.migrate import migrate as migrating
from projections.tables import projections

topics_app = typer.Typer(help="The Kafka topics: make them, check them.", no_args_is_help=True)
_status = Console(stderr=True)


def _target(settings: Settings) -> Target:
    return Target(settings.clickhouse.database, settings.clickhouse.cluster)


def migrate() -> None:
    """Create what is missing in ClickHouse: database, tables, views, columns. Safe to repeat."""
    settings = load()
    done = list(migrating(client_of(settings, database=""), _target(settings)))
    for line in done or ["nothing to do: the database is as declared"]:
        print(line)


def rebuild(
    logs: Annotated[
        list[str] | None, typer.Argument(help="email_log, sms_log; all if none")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would change, and change nothing.")
    ] = False,
) -> None:
    """Refold logs from the event store, report what changed, and swap the result in.

    The worker may go on meanwhile: nothing that arrives is missed, and readers see the old log
    until the new one takes its place in one step.
    """
    settings = load()
    target, client = _target(settings), client_of(settings)
    known = projections()
    for name in logs or known:
        if name not in known:
            raise typer.BadParameter(f"no log {name!r}; there are: {', '.join(known)}")
    for name in logs or known:
        log = known[name]
        with Progress(
            TextColumn("{task.description}"), BarColumn(),
            TextColumn("{task.fields[facts]:,} facts"), TimeElapsedColumn(), console=_status,
        ) as progress:  # fmt: skip
            task = progress.add_task(f"folding {name}", facts=0)
            for step in rebuilding.rebuild(client, target, log):
                progress.update(task, completed=step.done, total=step.total, facts=step.facts)
            progress.update(task, description=f"comparing {name}")
            changes = rebuilding.differences(client, target, log)
        for change in changes:
            print(
                f"{name}: {change.rows:,} rows {change.before or '(none)'} → "
                f"{change.after or '(none)'} ({', '.join(change.columns)})"
            )
        counts = ", ".join(f"{n:,} {what}" for what, n in rebuilding.totals(changes).items())
        if dry_run:
            rebuilding.discard(client, target, log)
            print(f"{name}: would change: {counts}")
        else:
            rebuilding.swap(client, target, log)
            print(f"{name}: rebuilt; {counts}")


@topics_app.command("apply")
def topics_apply() -> None:
    """Create the topics that are missing; existing ones are left as they are."""
    made = topics.apply(load().kafka)
    for name in made:
        print(f"created {name}")
    if not made:
        print("nothing to do: all topics are there")


@topics_app.command("check")
def topics_check() -> None:
    """Say which topics are missing; exit code 1 if any is."""
    reads, problems = topics.check(load().kafka)
    for line in problems or [f"all topics are there; the worker reads {', '.join(reads)}"]:
        print(line)
    raise typer.Exit(1 if problems else 0)
