"""What people ask of the blacklist: put on Kafka, and waited for until it has taken effect."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from processor.kafka.producer import producer
from processor.kafka.topics import COMMANDS
from projections.queries import suppressions
from schemas.addresses import Address
from schemas.decisions import Command
from schemas.errors import ExplainedError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from processor.settings import Kafka

#: Seconds to wait, unless told otherwise: a worker that runs takes about one.
PATIENCE: Final = 60.0
#: Characters of a reason.
LONGEST_REASON: Final = 1024
#: Seconds between two looks into the log: the first, and the longest.
_SOON, _LATER = 0.1, 1.0


class UnansweredError(ExplainedError):
    """Commands are on Kafka and no worker has dealt with them yet; the text says how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a command: the line of history that it led to."""

    command: Command
    line: dict[str, Any]

    @property
    def refusal(self) -> str:
        """Why the command did nothing; empty if it was obeyed."""
        return str(self.line["reason"]) if self.line["change"] == "refused" else ""


def command(
    what: Literal["reset", "add"],
    whose: Address,
    *,
    actor: str,
    reason: str,
    confirmed_complaint: bool = False,
) -> Command:
    """Return a command of now, with an id of its own.

    Raises pydantic's `ValidationError` if an actor, a reason or the address is missing or too long.
    """
    return Command(
        id=uuid.uuid4().hex, command=what, tenant_id=whose.tenant_id, channel=whose.channel,
        address=whose.address, actor=actor, reason=reason, confirmed_complaint=confirmed_complaint,
        asked_at=datetime.now(UTC),
    )  # fmt: skip


def whose(asked: Command) -> Address:
    """Return the address that a command is about."""
    return Address(asked.tenant_id, asked.channel, asked.address)


def to_record(asked: Command) -> tuple[bytes, bytes]:
    """Return the key and the value of a command's record: those of one address keep their order."""
    return whose(asked).key.encode(), asked.model_dump_json().encode()


def publish(kafka: Kafka, asked: Sequence[Command]) -> None:
    """Put commands on Kafka; return when it has all. Raises `BrokerError`.

    Those about one address keep their order.
    """
    with producer(kafka) as send:
        for key, value in map(to_record, asked):
            send(COMMANDS, value, key=key)


def wait(
    client: Client,
    database: str,
    asked: Sequence[Command],
    *,
    patience: float = PATIENCE,
    told: Callable[[int], None] = lambda _: None,
) -> list[Answer]:
    """Return what became of each command, in their order, when all have taken effect.

    `told` hears how many have, after each look. `patience` is how many seconds may pass without
    a further one. Raises `UnansweredError` when they have, and ClickHouse's errors.
    """
    lines: dict[str, dict[str, Any]] = {}
    pause, deadline = _SOON, time.monotonic() + patience
    while missing := [each for each in asked if each.id not in lines]:
        found = suppressions.outcomes(
            client, database, [(whose(each), each.id) for each in missing]
        )
        lines |= found
        told(len(lines))
        if len(found) == len(missing):
            break
        if found:
            pause, deadline = _SOON, time.monotonic() + patience
        elif time.monotonic() >= deadline:
            raise UnansweredError(_unanswered(len(missing), len(asked), patience))
        time.sleep(pause)
        pause = min(pause * 1.5, _LATER)
    return [Answer(command=each, line=lines[each.id]) for each in asked]


def _unanswered(missing: int, asked: int, patience: float) -> str:
    which = "the command" if asked == 1 else f"{missing:,} of {asked:,} commands"
    return (
        f"{which} had no effect within {patience:g} s; Kafka has it in {COMMANDS}, and as soon as a"
        " worker runs (sendlog worker) and has caught up it takes effect: look again with"
        " sendlog suppressions history"
    )
