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

from processor.publishing import Outgoing
from processor.topics import POLICY
from projections.history import COLUMNS
from schemas.decisions import OURS, Address, Command
from schemas.events import Fields, MessageEvent

#: Facts that may list an address, end that, or ask for a retry.
_ALWAYS: Final = frozenset(
    {"bounce", "complaint", "opt_out", "unsubscribe", "resubscribe", "invalid"}
)
#: Facts and commands in one record.
_MOST: Final = 500


class Feed(BaseModel):
    """The value of a record of `delivery.policy`."""

    model_config = ConfigDict(frozen=True)

    facts: tuple[MessageEvent, ...] = ()
    commands: tuple[Command, ...] = ()

    @property
    def entries(self) -> Iterator[tuple[Address, MessageEvent | Command]]:
        """What is in it, each with whose address it is about."""
        for fact in self.facts:
            yield Address(fact.tenant_id, fact.channel, fact.recipient), fact
        for command in self.commands:
            yield Address(command.tenant_id, command.channel, command.address), command


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


def _whose(event: Mapping[str, Any]) -> Address:
    return Address(event["tenant_id"], event["channel"], event["recipient"])


def _whole(time: datetime) -> datetime:
    """Return a time in whole milliseconds, as the log has it: what follows from it has, too."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def partition_of(whose: Address, partitions: int) -> int:
    """Return the partition of an address, of its facts as of what is remembered of it."""
    return crc32(whose.key.encode("utf-8", "surrogatepass")) % partitions


def to_records(
    facts: Sequence[Mapping[str, Any]], commands: Sequence[Command], partitions: int
) -> Iterator[Outgoing]:
    """Yield the records that feed facts, by the columns of the event store, and commands."""
    feeds: defaultdict[int, list[tuple[str, Any]]] = defaultdict(list)
    for fact in facts:
        told = {name: fact[name] for name in COLUMNS if fact.get(name) is not None}
        told["occurred_at"] = _whole(fact["occurred_at"])
        feeds[partition_of(_whose(fact), partitions)].append(("facts", told))
    for command in commands:
        whose = Address(command.tenant_id, command.channel, command.address)
        told = command.model_dump(mode="json")
        feeds[partition_of(whose, partitions)].append(("commands", told))
    for partition, entries in feeds.items():
        for start in range(0, len(entries), _MOST):
            feed: dict[str, list[Any]] = {"facts": [], "commands": []}
            for name, entry in entries[start : start + _MOST]:
                feed[name].append(entry)
            yield Outgoing(POLICY, None, to_json(feed), partition=partition)
