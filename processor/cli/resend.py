"""`sendlog resend`: have a message sent again."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Final

import typer

from processor.cli import suppression_options
from processor.cli.suppression_options import ActorOption, ChannelName, ReasonOption, TimeoutOption
from processor.clickhouse import client_of
from processor.settings import load
from processor.suppression_commands import DEFAULT_TIMEOUT_SECONDS
from projections.queries.listing import QueryError
from projections.queries.resends import next_attempt, resend_outcomes
from projections.queries.timeline import explain_message
from schemas.addresses import normalise_address
from schemas.decisions import Command
from schemas.events import Channel

#: The answer has the time of the command, by the clock of this machine.
_CLOCK_SKEW: Final = timedelta(days=1)


def request_resend(
    message_id: Annotated[str, typer.Argument(help="The message's id.")],
    recipient: Annotated[str, typer.Argument(help="To which of its recipients.")],
    tenant: Annotated[str, typer.Option(help="Whose message.")],
    reason: ReasonOption,
    channel: Annotated[
        ChannelName | None, typer.Option(help="Else by the recipient: one with an @ is email's.")
    ] = None,
    actor: ActorOption = "",
    wait: TimeoutOption = DEFAULT_TIMEOUT_SECONDS,
) -> None:
    """Ask the mailer for one more attempt at a message, and wait until it has been asked.

    Refused for an address that is blacklisted, and while an earlier request has no answer yet. What
    the mailer then does is in the log: sendlog explain. Needs a worker that runs.
    """
    settings = load()
    client, database = client_of(settings), settings.clickhouse.database
    kind: Channel = suppression_options.channel_of(channel) or (
        "email" if "@" in recipient else "sms"
    )
    address = normalise_address(kind, recipient, settings.numbers.by_tenant.of(tenant))
    explanation = explain_message(
        client, database, channel=kind, tenant=tenant, message_id=message_id, recipient=address
    )
    if explanation is None:
        raise QueryError(f"no message {message_id!r} to {recipient}; sendlog log has the ids")
    row = explanation["row"]
    command = Command(
        id=uuid.uuid4().hex, command="resend", tenant_id=tenant, channel=kind, address=address,
        actor=suppression_options.actor_of(actor),
        reason=suppression_options.checked_reason(reason), requested_at=datetime.now(UTC),
        message_id=message_id, attempt=next_attempt(explanation),
        record_type=row["record_type"], record_id=row["record_id"],
    )  # fmt: skip
    read = partial(resend_outcomes, since=command.requested_at - _CLOCK_SKEW)
    [outcome] = suppression_options.carry_out(settings, [command], wait, read=read)
    if outcome.rejection:
        print(outcome.rejection)
        raise typer.Exit(1)
    attempt = outcome.history_row["attempt"]
    print(f"asked for attempt {attempt}; sendlog explain shows what became of it")
