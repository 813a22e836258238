"""Backups of the database by ClickHouse itself, onto a disk that its configuration names.

A backup is taken while workers write. It has all that was written when it began, and parts of what
came meanwhile, perhaps an event and not its fold: it is whole again once that has been read anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import sleep
from typing import TYPE_CHECKING, Final, NamedTuple

from projections.clickhouse.client import classified_errors
from projections.clickhouse.sql import Parameters, fetch_rows
from projections.expressions import quote
from schemas.errors import ExplainedError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from projections.clickhouse.ddl import Target

PROGRESS_INTERVAL_SECONDS: Final = 0.5
_DONE: Final = frozenset({"BACKUP_CREATED", "RESTORED"})
_UNDER_WAY: Final = frozenset({"CREATING_BACKUP", "RESTORING"})


class BackupError(ExplainedError):
    """A backup was not made, or not restored."""


class BackupProgress(NamedTuple):
    """How far a backup is, in bytes, and how many it has to do as far as that is known."""

    done_bytes: int
    total_bytes: int


def back_up(
    client: Client, target: Target, name: str, *, disk: str, base: str = ""
) -> Iterator[BackupProgress]:
    """Make a backup; yield how far it is until it is done.

    With a `base` it has only what is new since that backup, which has to be kept. Raises
    `BackupError`, and `ClassifiedError` for a disk that is not there or a right that is missing.
    """
    settings = f" SETTINGS base_backup = {_place(disk, base)}" if base else ""
    database = f"DATABASE {target.database}{target.on_cluster}"
    return _run(client, f"BACKUP {database} TO {_place(disk, name)}{settings} ASYNC")


def restore(client: Client, target: Target, name: str, *, disk: str) -> Iterator[BackupProgress]:
    """Restore a backup into a database that is not there, or empty; yield how far it is.

    Raises `BackupError` if the database has tables, and as `back_up` does.
    """
    parameters = Parameters()
    with classified_errors():
        [[tables]] = fetch_rows(
            client,
            f"SELECT count() FROM {target.system('tables')} "
            f"WHERE database = {parameters.bind(target.database, 'String')}",
            parameters.values,
        )
    if tables:
        raise BackupError(
            f"the database {target.database} has {tables} tables: a backup is restored into an "
            "empty one only. If it is of no use any more, drop it first"
        )
    database = f"DATABASE {target.database}{target.on_cluster}"
    yield from _run(client, f"RESTORE {database} FROM {_place(disk, name)} ASYNC")


def _place(disk: str, name: str) -> str:
    return f"Disk({quote(disk)}, {quote(name)})"


def _run(client: Client, statement: str) -> Iterator[BackupProgress]:
    with classified_errors():
        [[operation, *_]] = client.query(statement).result_rows
    parameters = Parameters()
    question = (
        "SELECT status, error, bytes_read, total_size FROM system.backups "
        f"WHERE id = {parameters.bind(operation, 'String')}"
    )
    while True:
        with classified_errors():
            [[status, error, done, total]] = fetch_rows(client, question, parameters.values)
        yield BackupProgress(done, total)
        if status in _DONE:
            return
        if status not in _UNDER_WAY:
            raise BackupError(f"ClickHouse: {status}: {error.partition(' (version')[0]}")
        sleep(PROGRESS_INTERVAL_SECONDS)
