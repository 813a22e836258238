"""`sendlog suppressions import`: suppress the addresses of a file."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer
from rich.console import Console

from processor.cli import suppression_options
from processor.cli.suppression_options import ActorOption, TenantOption, TimeoutOption
from processor.clickhouse import client_of
from processor.provider_lists.list_files import twilio_lines
from processor.settings import load
from processor.suppression_commands import DEFAULT_TIMEOUT_SECONDS, new_command
from processor.suppression_files import BadFileRow, FileRow, SuppressionFileError, read_rows
from projections.queries import suppressions
from schemas.addresses import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from processor.settings import Settings
    from processor.suppression_commands import CommandOutcome


class OptOutSource(StrEnum):
    """Providers whose lists of opt-outs have a form of their own."""

    TWILIO = "twilio"


#: Bad lines that are reported one by one.
MAX_REPORTED_LINES: Final = 20


def import_suppressions(
    file: Annotated[Path, typer.Argument(help="A CSV file; - for standard input.")],
    tenant: TenantOption,
    actor: ActorOption = "",
    source: Annotated[
        OptOutSource | None, typer.Option("--from", help="Opt-outs as this provider has them.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad lines out, instead of doing nothing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file.")] = False,
    wait: TimeoutOption = DEFAULT_TIMEOUT_SECONDS,
) -> None:
    """Blacklist the addresses of a CSV file by hand, and wait until all have taken effect.

    The first line names the columns: channel (email or sms), address, reason; also tenant, which
    must be the one given. Others are left alone, so that what `export` wrote can be read; but all
    is listed by hand, whatever rule it was listed by. If any line is bad, the bad ones are named
    and nothing is done. Who is on the list by hand already stays so. Needs a worker that runs.

    Lists that SendGrid, Mailgun, Postmark, SES and Mandrill keep are taken with their rules and
    times by `sendlog import --list`. Twilio's consents, CSV or JSON, are taken by --from twilio.

    As: sendlog suppressions import blacklist.csv --tenant acme
    """
    settings = load()
    good, bad = _read_file(file, tenant, settings.numbers.by_tenant.of(tenant), source)
    _report_bad_lines(file, bad)
    if bad and not skip_bad:
        raise SuppressionFileError(
            f"{len(bad):,} of {len(good) + len(bad):,} lines of {file} are bad: nothing was done;"
            " mend them, or leave them out with --skip-bad"
        )
    # The first line counts for an address that is in the file twice.
    by_address = {row.address: row for row in reversed(good)}
    if dry_run:
        print(f"{len(by_address):,} addresses would be blacklisted")
        return
    actor = suppression_options.actor_of(actor)
    commands = [
        new_command("add", row.address, actor=actor, reason=row.reason)
        for row in by_address.values()
    ]
    commands.reverse()
    outcomes = suppression_options.carry_out(settings, commands, wait) if commands else []
    if not _report_outcomes(settings, tenant, outcomes):
        raise typer.Exit(1)


def _read_file(
    file: Path, tenant: str, region: str, source: OptOutSource | None
) -> tuple[list[FileRow], list[BadFileRow]]:
    """Return the good and the bad lines. Raises `SuppressionFileError` if it cannot be read."""
    good, bad = list[FileRow](), list[BadFileRow]()
    try:
        with _open(file) as lines:
            rows = lines if source is None else twilio_lines(lines.read())
            for row in read_rows(rows, tenant, region):
                if isinstance(row, FileRow):
                    good.append(row)
                else:
                    bad.append(row)
    except OSError as error:
        raise SuppressionFileError(f"{file} cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise SuppressionFileError(f"{file} is not JSON: {error}") from None
    except UnicodeDecodeError:
        raise SuppressionFileError(f"{file} is not UTF-8") from None
    return good, bad


def _report_bad_lines(file: Path, bad: Sequence[BadFileRow]) -> None:
    console = Console(stderr=True)
    for row in bad[:MAX_REPORTED_LINES]:
        console.print(f"{file}, line {row.line_number}: {row.why}", markup=False, soft_wrap=True)
    if len(bad) > MAX_REPORTED_LINES:
        console.print(f"… and {len(bad) - MAX_REPORTED_LINES:,} more bad lines")


def _open(file: Path) -> AbstractContextManager[TextIO]:
    if str(file) == "-":
        return nullcontext(sys.stdin)
    return file.open(encoding="utf-8-sig", newline="")


def _report_outcomes(settings: Settings, tenant: str, outcomes: Sequence[CommandOutcome]) -> bool:
    """Print the outcomes; tell whether all addresses are suppressed now."""
    refused = [outcome for outcome in outcomes if outcome.rejection]
    print(f"{len(outcomes) - len(refused):,} addresses blacklisted")
    for why, count in Counter(outcome.rejection for outcome in refused).most_common():
        print(f"{count:,} left as they were: {why}")
    if not refused:
        return True
    # A command is also refused if its address is suppressed already, which is as good.
    entries = suppressions.export_entries(client_of(settings), settings.clickhouse.database, tenant)
    suppressed = {Address(tenant, row["channel"], row["address"]) for row in entries}
    return all(outcome.command.target in suppressed for outcome in refused)
