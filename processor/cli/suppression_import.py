"""`sendlog suppressions import`: blacklisting the addresses of a file."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer
from rich.console import Console

from processor.cli import suppression_options
from processor.cli.suppression_options import Actor, Patience, Tenant
from processor.clickhouse import client_of
from processor.settings import load
from processor.suppression_commands import PATIENCE, command
from processor.suppression_files import BadRow, FileError, Row, rows
from projections.queries import suppressions
from schemas.addresses import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from processor.settings import Settings
    from processor.suppression_commands import Answer

#: Bad lines that are named one by one.
_NAMED: Final = 20


def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file; - for standard input.")],
    tenant: Tenant,
    actor: Actor = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad lines out, instead of doing nothing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file.")] = False,
    wait: Patience = PATIENCE,
) -> None:
    """Blacklist the addresses of a CSV file by hand, and wait until all have taken effect.

    The first line names the columns: channel (email or sms), address, reason; also tenant, which
    must be the one given. Others are left alone, so that what `export` wrote can be read; but all
    is listed by hand, whatever rule it was listed by. If any line is bad, the bad ones are named
    and nothing is done. Who is on the list by hand already stays so. Needs a worker that runs.

    As: sendlog suppressions import blacklist.csv --tenant acme
    """
    good, bad = _read(file, tenant)
    console = Console(stderr=True)
    for each in bad[:_NAMED]:
        console.print(f"{file}, line {each.number}: {each.why}", markup=False, soft_wrap=True)
    if len(bad) > _NAMED:
        console.print(f"… and {len(bad) - _NAMED:,} more bad lines")
    if bad and not skip_bad:
        raise FileError(
            f"{len(bad):,} of {len(good) + len(bad):,} lines of {file} are bad: nothing was done;"
            " mend them, or leave them out with --skip-bad"
        )
    # Of an address that stands in it twice, the first line counts.
    first = {row.whose: row for row in reversed(good)}
    if dry_run:
        print(f"{len(first):,} addresses would be blacklisted")
        return
    settings, who = load(), suppression_options.actor_of(actor)
    given = [command("add", row.whose, actor=who, reason=row.reason) for row in first.values()]
    given.reverse()
    answers = suppression_options.carried_out(settings, given, wait) if given else []
    if not _report(settings, tenant, answers):
        raise typer.Exit(1)


def _read(file: Path, tenant: str) -> tuple[list[Row], list[BadRow]]:
    """Return the good and the bad lines. Raises `FileError` if the file cannot be read at all."""
    good, bad = list[Row](), list[BadRow]()
    try:
        with _opened(file) as lines:
            for row in rows(lines, tenant):
                if isinstance(row, Row):
                    good.append(row)
                else:
                    bad.append(row)
    except OSError as error:
        raise FileError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileError(f"{file} is not UTF-8") from None
    return good, bad


def _opened(file: Path) -> AbstractContextManager[TextIO]:
    if str(file) == "-":
        return nullcontext(sys.stdin)
    return file.open(encoding="utf-8-sig", newline="")


def _report(settings: Settings, tenant: str, answers: Sequence[Answer]) -> bool:
    """Say what became of all; tell whether everybody is on the list now."""
    refused = [each for each in answers if each.refusal]
    print(f"{len(answers) - len(refused):,} addresses blacklisted")
    for why, count in Counter(each.refusal for each in refused).most_common():
        print(f"{count:,} left as they were: {why}")
    if not refused:
        return True
    # Refused, because it is on the list already? Then all is as it was asked for.
    entries = suppressions.exported(client_of(settings), settings.clickhouse.database, tenant)
    listed = {Address(tenant, row["channel"], row["address"]) for row in entries}
    asked = (
        Address(tenant, each.command.channel, each.command.address) for each in refused
    )  # fmt: skip
    return all(each in listed for each in asked)
