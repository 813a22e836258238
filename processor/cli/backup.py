"""`sendlog backup` and `sendlog restore`: the database, and where Kafka has what is newer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from processor.cli.options import OptionError
from processor.clickhouse import client_of, target_of
from processor.kafka.group_offsets import check_no_worker, rewind, written_offsets
from processor.settings import load
from projections.clickhouse.backup import BackupProgress, back_up, restore
from projections.queries.backup_offsets import read_offsets, store_offsets

_NAME_FORM: Final = "%Y%m%dT%H%M%SZ"
_status: Final = Console(stderr=True)

_DiskOption = Annotated[
    str, typer.Option(help="A disk of ClickHouse's configuration that backups may be on.")
]


def back_up_database(
    disk: _DiskOption = "backups",
    base: Annotated[
        str, typer.Option(help="Only what is new since this backup, which is to be kept.")
    ] = "",
) -> None:
    """Back up the database while workers go on; prints the name, which is the time in UTC.

    The backup knows up to where the workers had read, so `sendlog restore` lets them read the rest
    again: Kafka has to keep it for longer than the time between two backups. The topics are not in
    it, nor what the policy keeps in them.
    """
    settings = load()
    client, target = client_of(settings), target_of(settings)
    name = f"{datetime.now(UTC):{_NAME_FORM}}"
    # Before the backup, so that it has all up to there.
    store_offsets(client, target.database, name, written_offsets(settings.kafka))
    _show("backing up", back_up(client, target, name, disk=disk, base=base))
    print(name)


def restore_backup(
    name: Annotated[str, typer.Argument(help="As `sendlog backup` printed it.")],
    disk: _DiskOption = "backups",
) -> None:
    """Restore the database, and let the workers read again what came after the backup.

    Stop the workers first, and start them afterwards. The database must be away or empty. Lost are
    keys, saved views and lines of the audit log since the backup.
    """
    settings = load()
    check_no_worker(settings.kafka)
    client, target = client_of(settings, database=""), target_of(settings)
    _show("restoring", restore(client, target, name, disk=disk))
    offsets = read_offsets(client, target.database, name)
    if not offsets:
        raise OptionError(f"{name} is restored, but was not made by sendlog backup: it does not say"
                          " from where on Kafka is to be read again")  # fmt: skip
    count = rewind(settings.kafka, offsets)
    print(f"restored; workers will read {count:,} records again: run sendlog migrate, start them")


def _show(what: str, progress: Iterable[BackupProgress]) -> None:
    """Show progress on a terminal until it ends."""
    columns = (TextColumn("{task.description}"), DownloadColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=_status, transient=True, disable=not _status.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None)
        for done in progress:
            bar.update(task, completed=done.done_bytes, total=done.total_bytes or None)
