"""What the policy is fed: which events it needs, and how they travel to it.

Few events matter to the policy: those about addresses with trouble. These, and commands, go to
`delivery.policy`, always to the same partition for one address, many in one record: a record for
each would cost intake more than the events themselves (E-043).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from processor.kafka.batch_producer import OutgoingRecord
from processor.kafka.topics import POLICY_TOPIC
from projections.queries.policy_events import POLICY_COLUMNS
from schemas.addresses import Address
from schemas.decisions import DECISION_LABEL, Command, Reason
from schemas.events import (
    MAX_EVENT_TIME,
    MIN_EVENT_TIME,
    POLICY_KINDS,
    Channel,
    EventFields,
    MessageEvent,
)

#: About how many bytes a record has at most; a single line is far smaller.
MAX_RECORD_BYTES: Final = 500_000
#: Characters of a provider's text that the policy quotes, at most.
MAX_QUOTED_CHARACTERS: Final = 500
#: What the policy goes by of an event: the names of fields on the hot path, and in the feed.
_FIELDS: Final = {name: name for name in POLICY_COLUMNS if name not in {"diagnostic", "tags"}} | {
    "recorded_ms": "recorded_at"
}

#: A row of the event store has '' where an event has none of these.
_CLASS_FIELDS: Final = frozenset({"bounce_class", "classified_by"})


class Forget(BaseModel):
    """That nothing is to be kept of an address, and what stands in for it from now on."""

    model_config = ConfigDict(frozen=True)

    tenant_id: str
    channel: Channel
    address: str
    pseudonym: str

    @property
    def target(self) -> Address:
        """The address."""
        return Address(self.tenant_id, self.channel, self.address)


class KeptReasons(BaseModel):
    """Why a pseudonym is suppressed: what is kept of the entry of an address that was forgotten."""

    model_config = ConfigDict(frozen=True)

    tenant_id: str
    channel: Channel
    pseudonym: str
    reasons: tuple[Reason, ...]

    @property
    def target(self) -> Address:
        """The pseudonym, as an address."""
        return Address(self.tenant_id, self.channel, self.pseudonym)


PolicyEntry: TypeAlias = MessageEvent | Command | Forget | KeptReasons


class PolicyLine(BaseModel):
    """A line of a record of `delivery.policy`: an event, a command, or about who is forgotten."""

    model_config = ConfigDict(frozen=True)

    event: MessageEvent | None = Field(None, alias="fact")
    command: Command | None = None
    forget: Forget | None = None
    kept: KeptReasons | None = None

    @property
    def entry(self) -> tuple[Address, PolicyEntry]:
        """What it says, with the address it is about. Raises `ValueError` if it says nothing."""
        if self.event is not None:
            event = _without_implausible_time(self.event)
            return Address(event.tenant_id, event.channel, event.recipient), event
        for entry in (self.command, self.forget, self.kept):
            if entry is not None:
                return entry.target, entry
        raise ValueError("neither a fact nor a command")


def _without_implausible_time(event: MessageEvent) -> MessageEvent:
    """Return an event that was not recorded at 1970 or the like; older releases fed those."""
    if event.recorded_at is None or MIN_EVENT_TIME <= event.recorded_at < MAX_EVENT_TIME:
        return event
    return event.model_copy(update={"recorded_at": None})


def lines_of(value: bytes) -> list[bytes]:
    """Return the lines of a record's value."""
    return value.split(b"\n")


def entry_of(line: bytes) -> tuple[Address, PolicyEntry]:
    """Read a line. Raises `ValueError` if it is no feed of the policy."""
    return PolicyLine.model_validate_json(line).entry


def chosen_events(
    events: Iterable[EventFields], suppressed: Container[Address]
) -> list[EventFields]:
    """Return the events that the policy needs; of first sends only those to `suppressed`."""
    return [event for event in events if _is_needed(event, suppressed)]


def _is_needed(event: EventFields, suppressed: Container[Address]) -> bool:
    kind = event["kind"]
    if kind not in POLICY_KINDS and not (kind == "sent" and _may_matter(event, suppressed)):
        return False
    return event.get("label") != DECISION_LABEL and bool(event["recipient"])


def _may_matter(send: EventFields, suppressed: Container[Address]) -> bool:
    """Tell whether a send is a later attempt, or goes to an address that may be suppressed."""
    if (send.get("attempt") or 1) != 1:
        return True
    # A plain tuple has the hash of an address, and is made faster; this is asked of every send.
    return (send["tenant_id"], send["channel"], send["recipient"]) in suppressed


def partition_of(address: Address, partitions: int) -> int:
    """Return the partition of an address, of its events as of its state."""
    return crc32(address.key.encode("utf-8", "surrogatepass")) % partitions


def to_records(
    events: Iterable[Mapping[str, Any]], commands: Iterable[Command], partitions: int
) -> list[OutgoingRecord]:
    """Return the records that feed events, by the columns of the event store, and commands."""
    lines: defaultdict[int, list[bytes]] = defaultdict(list)
    for event in events:
        address = Address(event["tenant_id"], event["channel"], event["recipient"])
        lines[partition_of(address, partitions)].append(to_json({"fact": _fields_of(event)}))
    for command in commands:
        line = to_json({"command": command})
        lines[partition_of(command.target, partitions)].append(line)
    return [
        OutgoingRecord(POLICY_TOPIC, None, value, partition=partition)
        for partition, of_partition in lines.items() for value in _joined(of_partition)
    ]  # fmt: skip


def forget_record(forget: Forget, partitions: int) -> OutgoingRecord:
    """Return the record by which the policy forgets an address."""
    place = partition_of(forget.target, partitions)
    return OutgoingRecord(POLICY_TOPIC, None, to_json({"forget": forget}), partition=place)


def kept_record(kept: KeptReasons, partition: int) -> OutgoingRecord:
    """Return the record that carries reasons to a pseudonym; whoever reads it moves it there."""
    return OutgoingRecord(POLICY_TOPIC, None, to_json({"kept": kept}), partition=partition)


def _fields_of(event: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        _FIELDS[name]: value for name, value in event.items()
        if name in _FIELDS and value is not None and (value or name not in _CLASS_FIELDS)
    }  # fmt: skip
    fields["occurred_at"] = _in_milliseconds(event["occurred_at"])
    fields["diagnostic"] = (event.get("diagnostic") or "")[:MAX_QUOTED_CHARACTERS]
    return fields


def _in_milliseconds(time: datetime) -> datetime:
    """Return a time in whole milliseconds, as the log has it: what follows from it has, too."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _joined(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Yield lines together, in values of bounded size."""
    start, size = 0, 0
    for place, line in enumerate(lines):
        if size > MAX_RECORD_BYTES:
            yield b"\n".join(lines[start:place])
            start, size = place, 0
        size += len(line)
    yield b"\n".join(lines[start:])
