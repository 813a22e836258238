"""Shared parts of the commands of the blacklist: options, waiting, and output."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from processor import suppression_commands
from processor.clickhouse import client_of
from processor.provider_lists.removal import ProviderLists, read_accounts
from processor.suppression_commands import CommandOutcome, CommandTimeoutError
from projections.clickhouse.client import ClassifiedError
from projections.queries.audit import AuditLine, AuditOutcome, store_audit_lines
from projections.queries.listing import QueryError
from projections.queries.suppressions import ReadOutcomes
from schemas.addresses import shown_address
from schemas.decisions import SUPPRESSION_RULES
from schemas.resets import ProviderRemoval, ResetTerms

if TYPE_CHECKING:
    from processor.settings import Settings
    from schemas.addresses import Address
    from schemas.decisions import Command, RuleName
    from schemas.events import Channel

_status: Final = Console(stderr=True)
MAX_ACTOR_CHARACTERS: Final = 256
#: Commands that are published and waited for together.
MAX_BATCH_COMMANDS: Final = 5_000


class ChannelName(StrEnum):
    """The channels, as an option."""

    EMAIL = "email"
    SMS = "sms"


TenantOption = Annotated[str, typer.Option(help="Whose blacklist.")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the history.")]
ActorOption = Annotated[
    str, typer.Option(help="Who asks for it, for the history; else the user of this system.")
]
ConfirmComplaintOption = Annotated[
    bool,
    typer.Option("--confirm-complaint", help="Its owner, who reported spam or opted out, agrees."),
]
TimeoutOption = Annotated[
    float, typer.Option("--wait", min=0, help="Seconds to wait for it to take effect.")
]


def channel_of(name: ChannelName | None) -> Channel | None:
    """Return the channel that an option names."""
    match name:
        case None:
            return None
        case ChannelName.EMAIL:
            return "email"
        case ChannelName.SMS:
            return "sms"


def actor_of(name: str) -> str:
    """Return the actor: the name, or the system's user. Raises `QueryError` if there is none."""
    if name.strip():
        return name.strip()[:MAX_ACTOR_CHARACTERS]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise QueryError("this system does not know who you are; say --actor NAME") from None


def checked_reason(reason: str) -> str:
    """Return the stripped reason. Raises `QueryError` if it is empty or too long."""
    if not 0 < len(reason.strip()) <= suppression_commands.MAX_COMMAND_REASON_CHARACTERS:
        raise QueryError(
            f"--reason takes 1 to {suppression_commands.MAX_COMMAND_REASON_CHARACTERS} characters"
        )
    return reason.strip()


def carry_out(
    settings: Settings, commands: Sequence[Command], timeout_seconds: float, *,
    read: ReadOutcomes | None = None,
) -> list[CommandOutcome]:  # fmt: skip
    """Publish commands, wait until all have taken effect, and return their outcomes.

    `read` reads these: by default from the history of the blacklist. Shows the progress on a
    terminal. Raises `BrokerError` and `CommandTimeoutError`.
    """
    client, outcomes = client_of(settings), list[CommandOutcome]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(
        *columns, TimeElapsedColumn(), console=_status, transient=True,
        disable=not _status.is_terminal,
    )  # fmt: skip
    with _audited(settings, commands, outcomes), bar:
        task = bar.add_task("waiting for a worker", total=len(commands))
        for start in range(0, len(commands), MAX_BATCH_COMMANDS):
            batch = commands[start : start + MAX_BATCH_COMMANDS]
            suppression_commands.publish_commands(settings.kafka, batch)

            def show_progress(done: int, before: int = start) -> None:
                bar.update(task, completed=before + done)

            outcomes += suppression_commands.wait_for_outcomes(
                client,
                settings.clickhouse.database,
                batch,
                timeout_seconds=timeout_seconds,
                on_progress=show_progress,
                read=read,
            )
    return outcomes


@contextmanager
def _audited(
    settings: Settings, commands: Sequence[Command], outcomes: Sequence[CommandOutcome]
) -> Iterator[None]:
    """Have what is done within it in the audit log, whatever comes of it.

    If that cannot be written, say so: the history of an address has who changed it, and why.
    """
    is_published = False
    try:
        yield
        is_published = True
    except CommandTimeoutError:
        is_published = True
        raise
    finally:
        rejections = {each.command.id: each.rejection for each in outcomes}
        unknown: AuditOutcome = "pending" if is_published else "failed"
        lines = [
            AuditLine(
                tenant_id=each.tenant_id, actor=each.actor, via="cli", action=each.command,
                object_type="message" if each.message_id else "address",
                object=each.message_id or each.address,
                detail=f"{each.address}: {each.reason}" if each.message_id else each.reason,
                outcome=unknown if each.id not in rejections
                else "refused" if rejections[each.id] else "done",
            )
            for each in commands
        ]  # fmt: skip
        try:
            store_audit_lines(client_of(settings), settings.clickhouse.database, lines)
        except ClassifiedError as error:
            _status.print(f"not in the audit log: {error}", markup=False, highlight=False)


def print_suppression_state(
    address: Address,
    entry: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, Any]],
    *,
    err: bool = False,
) -> None:
    """Print why an address is suppressed; if it is not, print the last change."""
    console = _status if err else Console()
    for line in _suppression_state(address, entry, history):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _suppression_state(
    address: Address, entry: Mapping[str, Any] | None, history: Sequence[Mapping[str, Any]]
) -> list[str]:
    name = f"{shown_address(address.address)} ({address.channel}, tenant {address.tenant_id})"
    if entry is None:
        last = _history_entry(history[-1]) if history else "never was"
        return [f"{name} is not blacklisted", f"  last      {last}"]
    refused = entry["refused_since"]
    terms = ResetTerms.of(entry["rules"])
    also = [rule for rule in entry["rules"] if rule != entry["rule"]]
    lines = {
        "because": entry["reason"] or _rules_in_words([entry["rule"]]),
        "also": _rules_in_words(also),
        "since": f"{entry['since']:%Y-%m-%d %H:%M} UTC",
        "until": f"{entry['until']:%Y-%m-%d %H:%M} UTC" if entry["until"] else "",
        "message": entry["message_id"] or "none",
        "by": entry["actor"],
        "refused": f"{refused:,} message{'' if refused == 1 else 's'} since",
        "effect": f"a later send is {entry['effect'].capitalize()}",
        "reset": " ".join([*terms.person, *terms.means]),
    }
    details = [f"  {name:<9} {text}" for name, text in lines.items() if text]
    return [f"{name} is blacklisted", *details]


def _rules_in_words(rules: Sequence[RuleName]) -> str:
    return "; ".join(SUPPRESSION_RULES[rule].words for rule in rules)


def _history_entry(row: Mapping[str, Any]) -> str:
    rule = f" ({row['rule'].replace('_', ' ')})" if row["rule"] else ""
    return (
        f"{row['change']}{rule} on {row['occurred_at']:%Y-%m-%d %H:%M} UTC by {row['actor']}"
        f"{': ' if row['reason'] else ''}{row['reason']}"
    )


def remove_after_command(settings: Settings, outcome: CommandOutcome) -> list[ProviderRemoval]:
    """Take the address of a reset off its providers' lists, where it may be and we have accounts.

    Raises `SettingsError` for a file of accounts that cannot be read.
    """
    rule = outcome.history_row["rule"]
    if outcome.rejection or not rule or not ResetTerms.of([rule]).elsewhere:
        return []
    lists = ProviderLists(read_accounts(settings.api.provider_accounts))
    return lists.remove(outcome.command.target)


def print_outcome(
    outcome: CommandOutcome,
    entry: Mapping[str, Any] | None,
    removals: Sequence[ProviderRemoval] = (),
) -> None:
    """Print the outcome of a command, what providers did, and the address's entry after it."""
    if outcome.rejection:
        hint = "; see --confirm-complaint" if "confirmed" in outcome.rejection else ""
        _status.print(f"refused: {outcome.rejection}{hint}", markup=False, highlight=False)
        return
    print(f"done: {_history_entry(outcome.history_row)}")
    texts = tuple(each.sentence for each in removals)
    if outcome.command.command == "reset" and (rule := outcome.history_row["rule"]):
        texts = texts or ResetTerms.of([rule]).elsewhere
    for text in texts:
        _status.print(text, markup=False, highlight=False)
    address = shown_address(outcome.command.address)
    if entry is None:
        print(f"{address} is not blacklisted now")
    else:
        print(f"{address} is blacklisted: {_rules_in_words(entry['rules'])}")
