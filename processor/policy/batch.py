"""A batch of entries for the addresses of one partition, and what deciding on it leads to.

Whatever an entry makes the rules raise is an error of that entry alone: it becomes a dead letter,
and all others are decided on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from pydantic_core import to_json

from processor.intake import policy_feed
from processor.intake.dead_letters import DeadLetter, Rejection
from processor.kafka.batch_producer import OutgoingRecord
from processor.kafka.records import Chunk, Record
from processor.kafka.topics import (
    DECISIONS_TOPIC,
    POLICY_TOPIC,
    RETRIES_TOPIC,
    SUPPRESSIONS_TOPIC,
    mailer_topic,
)
from processor.logging import get
from processor.policy.config import Policies
from processor.policy.decide import decide, lookups_needed
from processor.policy.decisions import (
    AttemptSent,
    CommandApplied,
    CommandRejected,
    Decision,
    ReasonRecorded,
    ResendAccepted,
    RetryDue,
    SendRefused,
    Suppressed,
)
from processor.policy.evolve import next_wake_at, prune
from processor.policy.inputs import Input, LookupResult
from processor.policy.outputs import Outputs, to_outputs
from processor.policy.state import AddressState
from processor.policy.state_store import PartitionStates
from schemas.addresses import Address

log = get(__name__)

#: An address whose rules failed as time passed is tried again after this.
FAILED_TICK_INTERVAL: Final = timedelta(hours=1)

#: Labels of the metric, where they are not the names of the decisions' classes.
_METRIC_LABELS: Final[Mapping[type[Decision], str]] = {
    AttemptSent: "Resent",
    RetryDue: "RetryAsked",
    ResendAccepted: "ResendAsked",
    SendRefused: "Refused",
    ReasonRecorded: "Noted",
    CommandApplied: "Obeyed",
    CommandRejected: "CommandRefused",
}


class Line(NamedTuple):
    """A line of a record of the feed, by its number."""

    chunk: Chunk
    record: Record
    number: int

    def dead_letter(self, reason: str) -> DeadLetter:
        """Return the line as a dead letter."""
        raw = policy_feed.lines_of(self.record.value or b"")[self.number]
        return DeadLetter.of(self.chunk, Rejection(self.record, reason, raw, self.number))


class Entry(NamedTuple):
    """An input about an address, and the line that it was read from; time has none."""

    address: Address
    input: Input
    line: Line | None = None


@dataclass(slots=True)
class Outcome:
    """What a batch led to: what is to be published, in one go, and kept."""

    decisions: list[OutgoingRecord] = field(default_factory=list)
    states: list[OutgoingRecord] = field(default_factory=list)
    #: Addresses that stay as they are, and when time may change them.
    unchanged: list[tuple[Address, datetime]] = field(default_factory=list)
    suppressed: list[Address] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    dead_letters: list[DeadLetter] = field(default_factory=list)

    @property
    def records(self) -> list[OutgoingRecord]:
        """All that is to be published."""
        return self.decisions + self.states

    def add(self, more: Outcome) -> None:
        """Add what other entries led to."""
        self.decisions += more.decisions
        self.states += more.states
        self.unchanged += more.unchanged
        self.suppressed += more.suppressed
        self.counts += more.counts
        self.dead_letters += more.dead_letters


class ReadRecord(NamedTuple):
    """What a record of the feed has.

    A line that is no feed is a dead letter; one of an address of another partition, as after a
    replay of dead letters, is `misplaced`: a record that feeds it again where it belongs.
    """

    entries: list[Entry]
    dead_letters: list[DeadLetter]
    misplaced: list[OutgoingRecord]


def read_record(chunk: Chunk, record: Record, partitions: int) -> ReadRecord:
    """Read a record of the feed, which has so many partitions."""
    read = ReadRecord([], [], [])
    for number, text in enumerate(policy_feed.lines_of(record.value or b"")):
        line = Line(chunk, record, number)
        try:
            address, input_ = policy_feed.entry_of(text)
        except ValueError:
            read.dead_letters.append(line.dead_letter("it is no feed of the rules"))
            continue
        place = policy_feed.partition_of(address, partitions)
        if place == chunk.partition:
            read.entries.append(Entry(address, input_, line))
        else:
            read.misplaced.append(OutgoingRecord(POLICY_TOPIC, None, text, (), place))
    return read


class Batch:
    """Entries of one partition: `messages_to_look_up` first, then `decide`, once."""

    def __init__(
        self,
        partition: PartitionStates,
        entries: Sequence[Entry],
        mailers: Mapping[str, Sequence[str]],
    ) -> None:
        """Take the mailers of each tenant that has some with topics of their own."""
        self._partition = partition
        self._mailers = mailers
        self._entries: defaultdict[Address, list[Entry]] = defaultdict(list)
        for entry in entries:
            self._entries[entry.address].append(entry)
        self._states: dict[Address, AddressState] = {}
        self._outcome = Outcome()

    def messages_to_look_up(self, now: datetime) -> dict[Address, set[str]]:
        """Return all that has to be looked up before the policy decides on these addresses."""
        messages = {}
        for address, entries in self._entries.items():
            try:
                state = self._partition.get(address)
                message_ids = _messages_to_look_up(state, entries, now)
            except Exception as error:  # noqa: BLE001 - nobody foresaw it, and all others go on
                self._outcome.add(self._failed(entries, error, now))
                continue
            self._states[address] = state
            if message_ids is not None:
                messages[address] = message_ids
        return messages

    def decide(
        self, policies: Policies, lookups: Mapping[Address, LookupResult], now: datetime
    ) -> Outcome:
        """Decide on every entry of each address, in order."""
        for address in self._states:
            try:
                outcome = self._decide_on(address, policies, lookups.get(address), now)
            except Exception as error:  # noqa: BLE001 - nobody foresaw it, and all others go on
                outcome = self._failed(self._entries[address], error, now)
            self._outcome.add(outcome)
        return self._outcome

    def _decide_on(
        self, address: Address, policies: Policies, lookup: LookupResult | None, now: datetime
    ) -> Outcome:
        before = state = self._states[address]
        policy, outcome = policies.of(address.tenant_id), Outcome()
        for entry in self._entries[address]:
            try:
                decisions, after = decide(state, entry.input, now, policy, lookup)
                outputs = to_outputs(address, state, decisions, after)
                mailers = self._mailers.get(address.tenant_id, ())
                records = _records_of(address, outputs, mailers, self._partition.number)
                state = prune(after, now, policy)
            except Exception as error:  # noqa: BLE001 - nobody foresaw it, and all others go on
                outcome.add(self._failed([entry], error, now))
                continue
            outcome.decisions += records
            outcome.counts.update(map(metric_label, decisions))
            if any(isinstance(decision, Suppressed) for decision in decisions):
                outcome.suppressed.append(address)
        wakes_at = next_wake_at(state, policy)
        if state != before:
            outcome.states.append(self._partition.to_record(address, state, wakes_at))
        elif wakes_at is not None and not outcome.unchanged:
            outcome.unchanged.append((address, wakes_at))
        return outcome

    def _failed(self, entries: Sequence[Entry], error: Exception, now: datetime) -> Outcome:
        """Return what becomes of entries that the rules cannot decide on."""
        name, address = type(error).__name__, entries[0].address
        log.error("entry_not_decided", partition=self._partition.number, error=name)
        log.debug("entry_not_decided", address=address.key, exc_info=error)
        reason = f"the rules cannot decide on it: unexpected {name}"
        lines = [entry.line for entry in entries]
        return Outcome(
            dead_letters=[line.dead_letter(reason) for line in lines if line],
            unchanged=[(address, now + FAILED_TICK_INTERVAL)] if None in lines else [],
        )


def metric_label(decision: Decision) -> str:
    """Return the label of a decision in the metric."""
    return _METRIC_LABELS.get(type(decision), type(decision).__name__)


def _messages_to_look_up(
    state: AddressState, entries: Sequence[Entry], now: datetime
) -> set[str] | None:
    """Return the messages of an address to look up; None: nothing is needed."""
    messages: set[str] | None = None
    for place, entry in enumerate(entries):
        message_ids = lookups_needed(state, entry.input, now, is_first=place == 0)
        if message_ids is not None:
            messages = (messages or set()) | message_ids
    return messages


def _records_of(
    address: Address, outputs: Outputs, mailers: Sequence[str], partition: int
) -> list[OutgoingRecord]:
    """Return the records of outputs; what is for mailers is on the topics of these, too."""
    key = address.key.encode()
    for_mailers = [
        OutgoingRecord(RETRIES_TOPIC, retry.id.encode(), retry.model_dump_json().encode())
        for retry in outputs.retries
    ]
    if outputs.entry_changed:
        entry = None if outputs.entry is None else outputs.entry.model_dump_json().encode()
        for_mailers.append(OutgoingRecord(SUPPRESSIONS_TOPIC, key, entry))
    return [
        *(
            OutgoingRecord(DECISIONS_TOPIC, key, to_json(event, exclude_none=True))
            for event in outputs.events
        ),
        *for_mailers,
        *(
            record._replace(topic=mailer_topic(record.topic, mailer))
            for mailer in mailers for record in for_mailers
        ),
        *(policy_feed.kept_record(each, partition) for each in outputs.kept),
    ]  # fmt: skip
