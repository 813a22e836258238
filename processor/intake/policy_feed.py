"""What the rules for retries and the blacklist are fed, and how it travels to them.

Few facts matter to them: about addresses with trouble. These, and what people command, go to
`delivery.policy`, always the same partition for one address, many in one record: a record each
would cost intake more than the facts themselves (20 µs for one that is sent, 3 µs for one of many).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from zlib import crc32

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from processor.kafka.batch_producer import Outgoing
from processor.kafka.topics import POLICY
from projections.queries.policy_events import COLUMNS
from schemas.addresses import Address
from schemas.decisions import OURS, Command
from schemas.events import Fields, MessageEvent

#: Facts that may list an address, end that, or ask for a retry.
_ALWAYS: Final = frozenset(
    {"bounce", "complaint", "opt_out", "unsubscribe", "resubscribe", "invalid"}
)
#: Bytes of a record, at most about; a single entry is far smaller (`_TOLD`).
_MOST: Final = 500_000
#: What the rules go by of a fact.
_TOLD: Final = frozenset(COLUMNS) - {"diagnostic", "tags"}
#: Characters that the rules quote of what a provider said, at most.
_QUOTED: Final = 500


class Fed(BaseModel):
    """A line of a record of `delivery.policy`: a fact or a command."""

    model_config = ConfigDict(frozen=True)

    fact: MessageEvent | None = None
    command: Command | None = None

    @property
    def entry(self) -> tuple[Address, MessageEvent | Command]:
        """What it is, with whose address it is about. Raises `ValueError` for neither."""
        if self.fact is not None:
            return Address(self.fact.tenant_id, self.fact.channel, self.fact.recipient), self.fact
        if self.command is not None:
            given = self.command
            return Address(given.tenant_id, given.channel, given.address), given
        raise ValueError("neither a fact nor a command")


def entries(value: bytes) -> list[tuple[Address, MessageEvent | Command]]:
    """Read a record's value. Raises `ValueError` for what is none."""
    return [Fed.model_validate_json(line).entry for line in value.split(b"\n")]


def chosen(events: Iterable[Fields], listed: Container[tuple[Any, Any, Any]]) -> list[Fields]:
    """Return the facts that the rules need; of first sends only those to addresses `listed`."""
    return [
        event for event in events
        if (kind := event["kind"]) in _ALWAYS
        or (kind == "sent" and (
            (event.get("attempt") or 1) != 1
            or (event["tenant_id"], event["channel"], event["recipient"]) in listed
        ))
        if event.get("label") != OURS and event["recipient"]
    ]  # fmt: skip


def _whole(time: datetime) -> datetime:
    """Return a time in whole milliseconds, as the log has it: what follows from it has, too."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def partition_of(whose: Address, partitions: int) -> int:
    """Return the partition of an address, of its facts as of what is remembered of it."""
    return crc32(whose.key.encode("utf-8", "surrogatepass")) % partitions


def to_records(
    facts: Iterable[Mapping[str, Any]], commands: Iterable[Command], partitions: int
) -> list[Outgoing]:
    """Return the records that feed facts, by the columns of the event store, and commands."""
    lines: defaultdict[int, list[bytes]] = defaultdict(list)
    for fact in facts:
        told = {name: given for name, given in fact.items() if name in _TOLD and given is not None}
        told["occurred_at"] = _whole(fact["occurred_at"])
        told["diagnostic"] = (fact.get("diagnostic") or "")[:_QUOTED]
        whose = Address(fact["tenant_id"], fact["channel"], fact["recipient"])
        lines[partition_of(whose, partitions)].append(to_json({"fact": told}))
    for command in commands:
        whose = Address(command.tenant_id, command.channel, command.address)
        lines[partition_of(whose, partitions)].append(to_json({"command": command}))
    return [
        Outgoing(POLICY, None, value, partition=partition)
        for partition, of_partition in lines.items() for value in _joined(of_partition)
    ]  # fmt: skip


def _joined(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Yield lines together, in values of bounded size."""
    start, size = 0, 0
    for at, line in enumerate(lines):
        if size > _MOST:
            yield b"\n".join(lines[start:at])
            start, size = at, 0
        size += len(line)
    yield b"\n".join(lines[start:])
