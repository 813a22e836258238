"""Commands that change suppressions: publish them, and wait until they have taken effect."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from processor.kafka.producer import sync_producer
from processor.kafka.topics import COMMANDS_TOPIC
from projections.queries import suppressions
from projections.queries.suppressions import ReadOutcomes
from schemas.addresses import Address
from schemas.command_signatures import secrets_of, sign_command
from schemas.decisions import Command
from schemas.errors import ExplainedError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from processor.settings import KafkaSettings

#: A running worker takes about a second.
DEFAULT_TIMEOUT_SECONDS: Final = 60.0
MAX_COMMAND_REASON_CHARACTERS: Final = 1024
#: Between two polls of the history; the interval grows from the first to the longest.
FIRST_POLL_INTERVAL_SECONDS: Final = 0.1
MAX_POLL_INTERVAL_SECONDS: Final = 1.0


class CommandTimeoutError(ExplainedError):
    """Kafka has commands that no worker has applied yet; the text says how many."""


class CommandRecord(NamedTuple):
    """What is published of a command."""

    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutcome:
    """The outcome of a command: the row of the history that it led to."""

    command: Command
    history_row: dict[str, Any]

    @property
    def rejection(self) -> str:
        """Why the command was refused; empty if it took effect."""
        row = self.history_row
        return str(row["reason"]) if row["change"] == "refused" else ""


def new_command(
    action: Literal["reset", "add", "publish"],
    address: Address,
    *,
    actor: str,
    reason: str,
    confirmed_complaint: bool = False,
) -> Command:
    """Return a new command with a new id. Raises as `Command.for_address` does."""
    return Command.for_address(
        action, address, id=uuid.uuid4().hex, actor=actor, reason=reason,
        confirmed_complaint=confirmed_complaint, requested_at=datetime.now(UTC),
    )  # fmt: skip


def command_record(kafka: KafkaSettings, command: Command) -> CommandRecord:
    """Return a command's record, signed now if there is a secret."""
    key, value = command.target.key.encode(), command.model_dump_json().encode()
    return CommandRecord(key, value, signature_headers(kafka, key, value))


def signature_headers(kafka: KafkaSettings, key: bytes, value: bytes) -> list[tuple[str, bytes]]:
    """Return the headers that a command's record has; none without a secret."""
    secrets = secrets_of(kafka.command_secret.get_secret_value())
    return [sign_command(secret, key, value, int(time.time() * 1000)) for secret in secrets[:1]]


def publish_commands(kafka: KafkaSettings, commands: Sequence[Command]) -> None:
    """Publish commands; return when Kafka has all. Raises `BrokerError`.

    Commands for one address keep their order, because the address is their key.
    """
    with sync_producer(kafka) as send:
        for command in commands:
            record = command_record(kafka, command)
            send(COMMANDS_TOPIC, record.value, record.headers, key=record.key)


def wait_for_outcomes(
    client: Client,
    database: str,
    commands: Sequence[Command],
    *,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    on_progress: Callable[[int], None] = lambda _: None,
    read: ReadOutcomes | None = None,
) -> list[CommandOutcome]:
    """Wait until all commands have taken effect; return their outcomes, in the same order.

    `on_progress` is called after each poll with the number that have; `read` reads what commands
    led to, by default from the history of the blacklist. Raises `CommandTimeoutError` when no
    further one has within `timeout_seconds`, and ClickHouse's errors.
    """
    read_outcomes = read or suppressions.command_outcomes
    rows: dict[str, dict[str, Any]] = {}
    delay, deadline = FIRST_POLL_INTERVAL_SECONDS, time.monotonic() + timeout_seconds
    while missing := [command for command in commands if command.id not in rows]:
        new = read_outcomes(client, database, [(command.target, command.id) for command in missing])
        rows |= new
        on_progress(len(rows))
        if len(new) == len(missing):
            break
        if new:
            delay, deadline = FIRST_POLL_INTERVAL_SECONDS, time.monotonic() + timeout_seconds
        elif time.monotonic() >= deadline:
            raise CommandTimeoutError(_timeout_text(len(missing), len(commands), timeout_seconds))
        time.sleep(delay)
        delay = min(delay * 1.5, MAX_POLL_INTERVAL_SECONDS)
    return [CommandOutcome(command=command, history_row=rows[command.id]) for command in commands]


def _timeout_text(missing: int, count: int, timeout_seconds: float) -> str:
    subject = "the command" if count == 1 else f"{missing:,} of {count:,} commands"
    return (
        f"{subject} had no effect within {timeout_seconds:g} s; Kafka has it in {COMMANDS_TOPIC},"
        " and as soon as a worker runs (sendlog worker) and has caught up it takes effect: look"
        " again with sendlog suppressions history; or it was refused, as one that is not signed is:"
        f" sendlog dead-letters list --topic {COMMANDS_TOPIC}"
    )
