"""Commands that change a suppression: publish one for a caller, and wait for its outcome."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from time import monotonic
from typing import Any, Final, Literal

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from projections.queries.audit import AuditOutcome
from projections.queries.suppressions import ReadOutcomes, command_outcomes
from projections.web.auth import Caller
from projections.web.problems import ProblemError, invalid_parameter, unavailable, validation_words
from projections.web.request_work import CURRENT_WORK
from projections.web.state import CommandNotPublishedError
from schemas.addresses import Address, AddressError, parse_address
from schemas.decisions import Command, RuleName

CommandName = Literal["reset", "add"]
_POLL_INTERVAL_SECONDS: Final = 0.25


def check_reason(reason: str) -> None:
    """Raise a 422 problem for a reason without a word."""
    if not reason.strip():
        raise invalid_parameter("reason", "say why; whoever reads the history wants to know")


async def publish_command(
    caller: Caller,
    command_name: CommandName,
    address: Address,
    reason: str,
    *,
    confirmed_complaint: bool = False,
) -> str:
    """Publish a command in the name of the caller's actor; return its id.

    Raises a 422 problem for a wrong address or reason, 503 if Kafka does not confirm it.
    """
    check_reason(reason)
    try:
        if command_name == "add":  # what is on the blacklist can be lifted, whatever it is
            parse_address(address.channel, address.address)
        command = Command.for_address(
            command_name, address, id=uuid.uuid4().hex, actor=caller.actor, reason=reason,
            requested_at=datetime.now(UTC), confirmed_complaint=confirmed_complaint,
        )  # fmt: skip
    except AddressError as error:
        raise invalid_parameter("address", error.args[0]) from None
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        raise invalid_parameter(str(details["loc"][0]), validation_words(details)) from None
    await send_command(caller, command)
    return command.id


async def send_command(caller: Caller, command: Command) -> None:
    """Publish a command. Raises a 503 problem if Kafka does not confirm it."""
    try:
        await run_in_threadpool(caller.state.publish_command, command)
    except CommandNotPublishedError as error:
        raise unavailable(
            "Kafka did not confirm the command; nothing is known to be asked"
        ) from error


async def apply_command(
    caller: Caller, command_name: CommandName, address: Address, reason: str, *,
    confirmed_complaint: bool = False,
) -> tuple[str, Mapping[str, Any] | None]:  # fmt: skip
    """Publish a command and wait for its outcome; return its id, and the outcome if in time.

    What came of it is in the audit log. Raises as `publish_command` does.
    """
    outcome: AuditOutcome | None = None
    try:
        command_id = await publish_command(
            caller, command_name, address, reason, confirmed_complaint=confirmed_complaint
        )
        outcome = "pending"
        row = await wait_for_outcome(caller, address, command_id)
        outcome = audit_outcome(row)
    except ProblemError as problem:
        if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
            outcome = outcome or "failed"
        raise
    finally:
        if outcome is not None:
            caller.audit(command_name, "address", address.address, detail=reason, outcome=outcome)
    return command_id, row


def audit_outcome(row: Mapping[str, Any] | None) -> AuditOutcome:
    """Return what came of a command, by the row that it led to."""
    if row is None:
        return "pending"
    return "refused" if row["change"] == "refused" else "done"


def lifted_rules(history: Sequence[Mapping[str, Any]], command_id: str) -> list[RuleName]:
    """Return the rules that a reset lifted, by the history of its address."""
    return [
        row["rule"] for row in history
        if row["cause_event_id"] == command_id and row["change"] == "reset" and row["rule"]
    ]  # fmt: skip


def outcome_of(history: Sequence[Mapping[str, Any]], command_id: str) -> Mapping[str, Any] | None:
    """Return the row that a command led to, by the history of its address; None without one.

    Of several, one for each rule that a reset ended, the last.
    """
    return next((row for row in reversed(history) if row["cause_event_id"] == command_id), None)


async def wait_for_outcome(
    caller: Caller, address: Address, command_id: str
) -> dict[str, Any] | None:
    """Wait for the row of the history that a command leads to; None if there is none in time."""
    return (await wait_for_outcomes(caller, [(address, command_id)])).get(command_id)


async def wait_for_outcomes(
    caller: Caller,
    commands: Sequence[tuple[Address, str]],
    *,
    read: ReadOutcomes = command_outcomes,
) -> dict[str, dict[str, Any]]:
    """Wait for the rows that commands lead to, by their ids, as far as they are there in time.

    `read` reads them: by default from the history of the blacklist.
    """
    database = caller.state.database
    outcomes: dict[str, dict[str, Any]] = {}

    def read_outcomes() -> dict[str, dict[str, Any]]:
        missing = [command for command in commands if command[1] not in outcomes]
        with database.client() as client:
            return read(client, database.name, missing)

    if work := CURRENT_WORK.get():
        work.at_end.close()  # others of its key may go on while it waits
    deadline = monotonic() + caller.state.outcome_seconds
    while len(outcomes) < len(commands):
        # Kafka has the commands even if ClickHouse is away now. After an error the caller would
        # send them again.
        with suppress(ProblemError):
            outcomes |= await run_in_threadpool(read_outcomes)
        if len(outcomes) == len(commands):
            break
        if monotonic() > deadline:
            break
        await asyncio.sleep(_POLL_INTERVAL_SECONDS)
    return outcomes
