"""Sending a message again: a command for the policy, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from projections.queries.audit import AuditOutcome
from projections.queries.resends import next_attempt, resend_outcomes
from projections.web.auth import Caller
from projections.web.message_explanation import explained_message
from projections.web.problems import invalid_parameter
from projections.web.suppression_commands import (
    audit_outcome,
    check_reason,
    send_command,
    wait_for_outcomes,
)
from schemas.decisions import Command
from schemas.events import Channel

_ID_BYTES: Final = 16
#: For so long a page says what came of a resend; then only the message's history does.
OUTCOME_PERIOD: Final = timedelta(days=30)
#: An answer has the time of its command; a copy of a command that of an earlier one.
_COPY_PERIOD: Final = timedelta(days=1)
MAX_IDEMPOTENCY_CHARACTERS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageResend:
    """A message that somebody wants sent again, to one recipient, and why.

    Whoever asks twice with one `idempotency_key`, which is not empty, has asked once.
    """

    channel: Channel
    message_id: str
    recipient: str
    reason: str
    idempotency_key: str = ""


async def resend_message(
    caller: Caller, resend: MessageResend
) -> tuple[str, Mapping[str, Any] | None]:
    """Publish the command for a message that the caller may see, and wait for its outcome.

    Return the command's id, and the outcome as `resend_outcomes` has it, None if not in time. What
    came of it is in the audit log. Raises problems: 422 for a reason without a word, 404 without
    such a message, 503 if Kafka does not confirm it.
    """
    check_reason(resend.reason)
    command = await run_in_threadpool(_command, caller, resend)
    outcome: AuditOutcome = "failed"
    try:
        await send_command(caller, command)
        outcome = "pending"
        read = partial(resend_outcomes, since=command.requested_at - _COPY_PERIOD)
        outcomes = await wait_for_outcomes(caller, [(command.target, command.id)], read=read)
        row = outcomes.get(command.id)
        outcome = audit_outcome(row)
    finally:
        caller.audit(
            "resend", "message", command.message_id, outcome=outcome,
            detail=f"{command.address}: {command.reason}",
        )  # fmt: skip
    return command.id, row


def find_resend(
    caller: Caller, channel: Channel, recipient: str, command_id: str
) -> Mapping[str, Any] | None:
    """Return what came of a resend to a recipient, None as long as nobody has dealt with it."""
    database, address = caller.state.database, caller.address_of(channel, recipient)
    with database.client() as client:
        commands = [(address, command_id)]
        since = datetime.now(UTC) - OUTCOME_PERIOD
        return resend_outcomes(client, database.name, commands, since=since).get(command_id)


def _command(caller: Caller, resend: MessageResend) -> Command:
    explanation = explained_message(
        caller, resend.channel, resend.message_id, resend.recipient, is_look=False
    )
    row = explanation["row"]
    try:
        return Command(
            id=_command_id(caller, resend), command="resend", tenant_id=caller.tenant,
            channel=resend.channel, address=row["recipient"], actor=caller.actor,
            reason=resend.reason, requested_at=datetime.now(UTC), message_id=row["message_id"],
            attempt=next_attempt(explanation),
            record_type=row["record_type"], record_id=row["record_id"],
        )  # fmt: skip
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        raise invalid_parameter(str(details["loc"][0]), details["msg"]) from None


def _command_id(caller: Caller, resend: MessageResend) -> str:
    """Return the id of the command: by the idempotency key, or else one of its own."""
    if not resend.idempotency_key:
        return uuid.uuid4().hex
    parts = (
        caller.tenant, resend.channel, resend.message_id, resend.recipient, resend.idempotency_key,
    )  # fmt: skip
    content = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return blake2b(content, digest_size=_ID_BYTES).hexdigest()


def refusal_of(outcome: Mapping[str, Any] | None) -> str:
    """Return why a resend was refused, "" if it was not, or nobody has dealt with it yet."""
    return str(outcome["reason"]) if outcome and outcome["change"] == "refused" else ""
