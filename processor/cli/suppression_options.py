"""What the commands of the blacklist share: their options, showing an address, and waiting."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from processor import suppression_commands
from processor.clickhouse import client_of
from processor.suppression_commands import Answer
from projections.queries.listing import QueryError

if TYPE_CHECKING:
    from processor.settings import Settings
    from schemas.addresses import Address
    from schemas.decisions import Command
    from schemas.events import Channel

_status: Final = Console(stderr=True)
#: So many commands are published and waited for at a time.
_AT_ONCE: Final = 5_000
_RULES: Final[Mapping[str, str]] = {
    "unsubscribe": "its owner unsubscribed",
    "complaint": "its owner reported a message as spam",
    "hard_bounce": "a hard bounce",
    "opt_out": "its owner opted out",
    "echo": "it is on the provider's own list",
    "by_hand": "by hand",
    "soft_bounces": "too many soft bounces in a row",
}


class ChannelName(StrEnum):
    """The channels, as an option."""

    EMAIL = "email"
    SMS = "sms"


Tenant = Annotated[str, typer.Option(help="Whose blacklist.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]
Actor = Annotated[
    str, typer.Option(help="Who asks for it, for the history; else the user of this system.")
]
ConfirmComplaint = Annotated[
    bool,
    typer.Option("--confirm-complaint", help="Also where its owner reported a message as spam."),
]
Patience = Annotated[
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


def actor_of(given: str) -> str:
    """Return who asks. Raises `QueryError` if nobody is named and the system does not know."""
    if given.strip():
        return given.strip()[:256]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise QueryError("this system does not know who you are; say --actor NAME") from None


def said(reason: str) -> str:
    """Return the reason given. Raises `QueryError` if it is empty or too long."""
    if not 0 < len(reason.strip()) <= suppression_commands.LONGEST_REASON:
        raise QueryError(f"--reason takes 1 to {suppression_commands.LONGEST_REASON} characters")
    return reason.strip()


def carried_out(settings: Settings, asked: Sequence[Command], patience: float) -> list[Answer]:
    """Publish commands, wait until all have taken effect, and return what became of each.

    Shows how far it is. Raises `BrokerError` and `UnansweredError`.
    """
    client, answers = client_of(settings), list[Answer]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(
        *columns, TimeElapsedColumn(), console=_status, transient=True,
        disable=not _status.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("waiting for a worker", total=len(asked))
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[start : start + _AT_ONCE]
            suppression_commands.publish(settings.kafka, some)

            def told(done: int, before: int = start) -> None:
                bar.update(task, completed=before + done)

            answers += suppression_commands.wait(
                client, settings.clickhouse.database, some, patience=patience, told=told
            )
    return answers


def describe(
    whose: Address,
    entry: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, Any]],
    *,
    err: bool = False,
) -> None:
    """Print why an address is blacklisted, or that it is not and what was last done to it."""
    console = _status if err else Console()
    for line in _described(whose, entry, history):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _described(
    whose: Address, entry: Mapping[str, Any] | None, history: Sequence[Mapping[str, Any]]
) -> list[str]:
    where = f"{whose.address} ({whose.channel}, tenant {whose.tenant_id})"
    if entry is None:
        last = _line(history[-1]) if history else "never was"
        return [f"{where} is not blacklisted", f"  last      {last}"]
    refused = entry["refused_since"]
    also = [_RULES[rule] for rule in entry["rules"] if rule != entry["rule"]]
    lines = {
        "because": entry["reason"] or _RULES[entry["rule"]],
        "also": "; ".join(also),
        "since": f"{entry['since']:%Y-%m-%d %H:%M} UTC",
        "until": f"{entry['until']:%Y-%m-%d %H:%M} UTC" if entry["until"] else "",
        "message": entry["message_id"] or "none",
        "by": entry["actor"],
        "refused": f"{refused:,} message{'' if refused == 1 else 's'} since",
        "effect": f"a later send is {entry['effect'].capitalize()}",
    }
    told = [f"  {name:<9} {text}" for name, text in lines.items() if text]
    return [f"{where} is blacklisted", *told]


def _line(line: Mapping[str, Any]) -> str:
    rule = f" ({line['rule'].replace('_', ' ')})" if line["rule"] else ""
    return (
        f"{line['change']}{rule} on {line['occurred_at']:%Y-%m-%d %H:%M} UTC by {line['actor']}"
        f"{': ' if line['reason'] else ''}{line['reason']}"
    )


def conclude(answer: Answer, entry: Mapping[str, Any] | None) -> None:
    """Print what became of a command."""
    if answer.refusal:
        hint = "; see --confirm-complaint" if "confirmed" in answer.refusal else ""
        _status.print(f"refused: {answer.refusal}{hint}", markup=False, highlight=False)
        return
    print(f"done: {_line(answer.line)}")
    if entry is None:
        print(f"{answer.command.address} is not blacklisted now")
    else:
        why = ", ".join(_RULES[rule] for rule in entry["rules"])
        print(f"{answer.command.address} is blacklisted: {why}")
