"""A chunk of Kafka records becomes message events, and rejections of what gives none.

The hot path: validation stays in pydantic's compiled code, one call per record (E-024), and events
go as columns to Arrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import pyarrow as pa
from pydantic import ValidationError
from pydantic_core import from_json

from processor import metrics
from processor.intake.arrow import assign_ids, group_events, table_of
from processor.intake.dead_letters import Rejection
from processor.intake.event_validator import event_validator
from processor.intake.forgotten import ForgottenPeople
from processor.intake.normal_form import bound_times, normalise_recipients
from processor.intake.policy_feed import chosen_events, to_records
from processor.intake.suppression_history import HISTORY_KINDS, HistoryRow, history_rows
from processor.intake.walls import Walls
from processor.kafka.batch_producer import OutgoingRecord
from processor.kafka.records import (
    RECORDED_AT_HEADER,
    Chunk,
    Record,
    plausible_ms,
    recorded_ms,
    text_headers,
)
from processor.kafka.topics import COMMANDS_TOPIC, DECISIONS_TOPIC, feed_provider, sends_channel
from processor.settings import IntakeSettings
from schemas.addresses import Address, NumberRegions
from schemas.bounces import BounceRules
from schemas.command_signatures import CommandSignatureError
from schemas.decisions import Command
from schemas.events import (
    EPOCH,
    KINDS_BY_CHANNEL,
    Channel,
    EventFields,
)
from schemas.identity import is_unmatched
from schemas.providers import adapters, decode, explain_validation, version_of

#: Dead letters that one record may give.
MAX_RECORD_REJECTIONS: Final = 100
#: Events that one record may give.
MAX_RECORD_EVENTS: Final = 10_000
#: The bytes of texts that a record's events may have: so many times its own, or at least so many.
#: What a record says once is in each of its events, and some bytes could fill the memory.
MAX_EXPANSION: Final = 16
MIN_EXPANSION_BYTES: Final = 256 * 1024
#: About what an event takes as a dict, beside its long texts.
EVENT_BYTES: Final = 2_000
#: Fields for texts of any length, beside the tags; all others of an event are a few kB at most.
LONG_FIELDS: Final = ("subject", "text", "diagnostic", "url", "user_agent")


@dataclass(slots=True)
class DecodedChunk:
    """What a chunk of one partition gave."""

    chunk: Chunk
    #: Events as rows of their table, each with its `source_offset`.
    events: pa.Table
    #: What gave no event, to become dead letters.
    rejections: Sequence[Rejection] = ()
    #: Records of `delivery.policy`: what the policy needs of it. They are serialised here, not
    #: later: keeping one event dict in fifteen alive fragments the heap and slows decoding (E-014).
    policy_records: Sequence[OutgoingRecord] = ()
    #: Rows of `suppression_history`.
    history: Sequence[HistoryRow] = ()
    #: Events that lack their message or recipient, until `Decoder.complete` makes rows of them.
    unmatched: Sequence[EventFields] = ()
    #: Of records about people who were forgotten: they are not kept as they came.
    hidden_offsets: frozenset[int] = frozenset()

    @property
    def row_count(self) -> int:
        """How much room it takes while it waits, in rows: what gave no row has been read, too."""
        rows = int(self.events.num_rows) + len(self.rejections) + len(self.unmatched)
        return max(len(self.chunk.records), rows)

    @property
    def byte_count(self) -> int:
        """How much memory it takes while it waits, in bytes: its records and what they became."""
        records = sum(len(record.value or b"") for record in self.chunk.records)
        elements = sum(len(rejection.raw or b"") for rejection in self.rejections)
        fed = sum(len(record.value or b"") for record in self.policy_records)
        unmatched = sum(EVENT_BYTES + _long_text_bytes(event) for event in self.unmatched)
        return records + elements + fed + unmatched + int(self.events.nbytes)

    @property
    def is_all_rejected(self) -> bool:
        """Whether nothing but rejections came of it."""
        gave_something = self.events.num_rows or self.policy_records or self.unmatched
        return bool(self.rejections) and not gave_something

    def records_of_events(self) -> list[Record]:
        """Return the record of each event, in the order of `events`."""
        by_offset = {record.offset: record for record in self.chunk.records}
        return [by_offset[offset] for offset in self.events["source_offset"].to_pylist()]


class Decoder:
    """Turns chunks into events; never raises for what is in them."""

    def __init__(
        self,
        settings: IntakeSettings,
        *,
        max_record_bytes: int,
        rules: BounceRules | None = None,
        suppressed: Container[Address] = (),
        policy_partitions: int = 1,
        regions: NumberRegions | None = None,
        resolve: Callable[[Sequence[EventFields]], None] = lambda _: None,
        walls: Walls = Walls(),  # noqa: B008 - frozen
        forgotten: ForgottenPeople | None = None,
    ) -> None:
        """Take the settings, the bounce rules, and addresses whose sends the policy has to see.

        `resolve` gives unmatched events the ids of their messages, as far as they are known.
        `regions` are the countries of numbers that name none. `policy_partitions`: how many
        `delivery.policy` has; 0: no policy is in force. Who is `forgotten` is put into no row.
        """
        self._validate: dict[Channel | None, Callable[[bytes], Any]] = {
            **{channel: event_validator(channel) for channel in KINDS_BY_CHANNEL},
            None: event_validator(*KINDS_BY_CHANNEL, message_id_required=False),
        }
        self._max_bytes = max_record_bytes
        self._tenants = settings.feeds
        self._default_tenant = settings.default_tenant
        self._rules = rules
        self._suppressed = suppressed
        self._policy_partitions = policy_partitions
        self._regions = regions or NumberRegions()
        self._resolve = resolve
        self._walls = walls
        self._forgotten = forgotten or ForgottenPeople("")

    def __call__(self, chunk: Chunk) -> DecodedChunk:
        """Decode the records of one fetch of one partition."""
        decoded = self.begin(chunk)
        self.complete([decoded])
        return decoded

    def begin(self, chunk: Chunk) -> DecodedChunk:
        """Decode the records of one fetch of one partition, but for its unmatched events."""
        try:
            return self._decode(chunk)
        except Exception as error:  # noqa: BLE001 - nobody foresaw it, and the stream must go on
            if len(chunk.records) == 1:
                rejections = [Rejection(chunk.records[0], _unexpected(error))]
                return self._decoded(chunk, [], rejections)
            parts = [self.begin(chunk._replace(records=[record])) for record in chunk.records]
            return DecodedChunk(
                chunk,
                pa.concat_tables([part.events for part in parts]),
                [rejection for part in parts for rejection in part.rejections],
                [record for part in parts for record in part.policy_records],
                [row for part in parts for row in part.history],
                [event for part in parts for event in part.unmatched],
                frozenset().union(*(part.hidden_offsets for part in parts)),
            )

    def complete(self, decoded: Sequence[DecodedChunk]) -> None:
        """Make rows of the unmatched events of chunks, too; one question is asked for them all.

        What may have been read before is not resolved, but written as it was then, and joined
        afterwards: the insert of a worker that is dead may come later than any look for it, and
        would leave a row of its own.
        """
        open_chunks = [each for each in decoded if each.unmatched]
        if not open_chunks:
            return
        self._resolve([
            event for each in open_chunks if not each.chunk.is_repeated for event in each.unmatched
        ])  # fmt: skip
        for each in open_chunks:
            _count_unmatched(each)
            try:
                self._add(each, each.unmatched)
            except Exception:  # noqa: BLE001 - as in `begin`
                self._add_one_by_one(each)
            each.unmatched = ()

    def _add_one_by_one(self, decoded: DecodedChunk) -> None:
        records = {record.offset: record for record in decoded.chunk.records}
        for event in decoded.unmatched:
            try:
                self._add(decoded, [event])
            except Exception as error:  # noqa: BLE001 - as in `begin`
                rejection = Rejection(records[event["source_offset"]], _unexpected(error))
                decoded.rejections = [*decoded.rejections, rejection]

    def _add(self, decoded: DecodedChunk, events: Sequence[EventFields]) -> None:
        """Add what is made of some unmatched events to what their chunk gave."""
        chunk = decoded.chunk
        version = version_of(adapters()[_provider_of(chunk.topic)])
        more = self._decoded(chunk, events, (), adapter_version=version)
        decoded.events = pa.concat_tables([decoded.events, more.events])
        decoded.policy_records = [*decoded.policy_records, *more.policy_records]
        decoded.hidden_offsets |= more.hidden_offsets

    def _decode(self, chunk: Chunk) -> DecodedChunk:
        topic = chunk.topic
        if topic == COMMANDS_TOPIC:
            return self._commands(chunk)
        channel = sends_channel(topic)
        if channel is not None or topic == DECISIONS_TOPIC:
            return self._events(chunk, channel)
        return self._feed(chunk, topic)

    def _decoded(
        self,
        chunk: Chunk,
        events: Sequence[EventFields],
        rejections: Sequence[Rejection],
        commands: Sequence[Command] = (),
        adapter_version: int = 0,
    ) -> DecodedChunk:
        """Give the events their ids, and return what is made of them and of commands."""
        groups = group_events(events)
        assign_ids(groups)
        bound_times(groups)
        normalise_recipients(groups, self._regions)
        if hidden_offsets := self._forgotten.hide(events):
            groups = group_events(events)
        policy_records: Sequence[OutgoingRecord] = ()
        if self._policy_partitions:
            chosen = chosen_events(events, self._suppressed)
            policy_records = to_records(chosen, commands, self._policy_partitions)
        table = table_of(groups, chunk.topic, chunk.partition, adapter_version)
        return DecodedChunk(chunk, table, rejections, policy_records, hidden_offsets=hidden_offsets)

    def _commands(self, chunk: Chunk) -> DecodedChunk:
        commands: list[Command] = []
        rejections: list[Rejection] = []
        for record in chunk.records:
            try:
                requested_at = EPOCH + timedelta(milliseconds=self._walls.commanded_ms(record))
                command = from_json(record.value or b"")
                checked = Command.model_validate(
                    {**command, "asked_at": requested_at}, context={"regions": self._regions}
                )
                commands.append(self._forgotten.hide_command(checked))
            except ValidationError as error:
                rejections.append(Rejection(record, explain_validation(error)))
            except CommandSignatureError as error:
                rejections.append(Rejection(record, str(error)))
            except (TypeError, ValueError) as error:
                rejections.append(Rejection(record, f"it is no command as JSON: {error}"))
        return self._decoded(chunk, [], rejections, commands)

    def _events(self, chunk: Chunk, channel: Channel | None) -> DecodedChunk:
        """Decode a mailer's events of a channel; without one, our own decisions of any."""
        events: list[EventFields] = []
        rejections: list[Rejection] = []
        decisions: list[tuple[bytes, EventFields]] = []
        validate, max_bytes = self._validate[channel], self._max_bytes
        tenants = None if channel is None else self._walls.tenants_of(chunk.topic)
        for record in chunk.records:
            value = record.value
            if value is None or len(value) > max_bytes:
                rejections.append(Rejection(record, _size_problem(value, max_bytes)))
                continue
            try:
                event = validate(value)
            except ValidationError as error:
                rejections.append(Rejection(record, explain_validation(error)))
                continue
            if tenants is not None and event["tenant_id"] not in tenants:
                reason = self._walls.refusal(chunk.topic, event["tenant_id"])
                rejections.append(Rejection(record, reason))
                continue
            event["recorded_ms"] = recorded_ms(record)
            event["source_offset"] = record.offset
            events.append(event)
            if channel is None and event["kind"] in HISTORY_KINDS:
                decisions.append((value, event))
        decoded = self._decoded(chunk, events, rejections)
        if channel is None:
            rows = [row for value, event in decisions for row in history_rows(value, event, chunk)]
            return replace(decoded, policy_records=(), history=rows)
        return decoded

    def _feed(self, chunk: Chunk, topic: str) -> DecodedChunk:
        """Decode a provider's raw payloads."""
        channel, provider = feed_provider(topic) or ("", topic)
        adapter = adapters().get(provider)
        if adapter is None or channel != adapter.CHANNEL:
            reason = f"no adapter for provider {provider!r} of channel {channel!r}"
            rejections = [Rejection(record, reason) for record in chunk.records]
            return self._decoded(chunk, [], rejections)
        events: list[EventFields] = []
        rejections = []
        ignored_count = 0
        tenant = self._tenants.get(provider, self._default_tenant)
        for record in chunk.records:
            value = record.value
            if value is None or len(value) > self._max_bytes:
                rejections.append(Rejection(record, _size_problem(value, self._max_bytes)))
                continue
            headers = text_headers(record)
            # Only what is replayed has the header: no need to go through all of each record again.
            replayed = RECORDED_AT_HEADER in headers
            arrived_ms = recorded_ms(record) if replayed else plausible_ms(record.timestamp)
            decoded = decode(adapter, value, headers, arrived_ms, tenant, self._rules)
            if problem := _expansion_problem(len(value), decoded.events):
                rejections.append(Rejection(record, problem))
                continue
            for event in decoded.events:
                event["source_offset"] = record.offset
            events.extend(decoded.events)
            ignored_count += not (decoded.events or decoded.rejected)
            if len(decoded.rejected) > MAX_RECORD_REJECTIONS:
                # A dead letter for each would multiply the record: one for all of it.
                count, first = len(decoded.rejected), decoded.rejected[0].reason
                reason = f"{count:,} elements cannot be read, the first: {first}"
                rejections.append(Rejection(record, reason))
            elif decoded.rejected:
                rejections += (
                    Rejection(record, part.reason, part.raw, part.element)
                    for part in decoded.rejected
                )
        metrics.IGNORED_RECORDS_TOTAL.labels(provider=provider).inc(ignored_count)
        if unmatched := [event for event in events if is_unmatched(event)]:
            events = [event for event in events if not is_unmatched(event)]
        made = self._decoded(chunk, events, rejections, adapter_version=version_of(adapter))
        made.unmatched = unmatched
        return made


def _provider_of(topic: str) -> str:
    """Return the provider of a feed's topic, or the topic if it is none."""
    feed = feed_provider(topic)
    return feed[1] if feed else topic


def _count_unmatched(decoded: DecodedChunk) -> None:
    """Count the events of a chunk that no edge has resolved."""
    provider = _provider_of(decoded.chunk.topic)
    counts = Counter(event["tenant_id"] for event in decoded.unmatched if is_unmatched(event))
    for tenant, count in counts.items():
        labels = {"provider": provider, "tenant": metrics.tenant_label(tenant)}
        metrics.UNMATCHED_EVENTS_TOTAL.labels(**labels).inc(count)


def _unexpected(error: Exception) -> str:
    return f"cannot be read: unexpected {type(error).__name__}"


def _expansion_problem(size: int, events: Sequence[EventFields]) -> str:
    """Return why a record of so many bytes must not become so many or so large events, or ""."""
    count = len(events)
    if count > MAX_RECORD_EVENTS:
        return f"it gives {count:,} events, and the limit is {MAX_RECORD_EVENTS:,}"
    limit = max(MIN_EXPANSION_BYTES, MAX_EXPANSION * size)
    if count * size <= limit:  # an event's texts are from the record
        return ""
    texts = sum(map(_long_text_bytes, events))
    if texts <= limit:
        return ""
    return (
        f"its {size:,} bytes become {count:,} events with {texts:,} bytes of text, "
        f"and the limit is {limit:,}"
    )


def _long_text_bytes(event: Mapping[str, Any]) -> int:
    """Return how many characters the fields have that may be long."""
    get, size = event.get, 0
    for name in LONG_FIELDS:
        if text := get(name):
            size += len(text)
    if tags := get("tags"):
        size += sum(map(len, tags))
    return size


def _size_problem(value: bytes | None, limit: int) -> str:
    if value is None:
        return "the record has no value"
    return f"value of {len(value):,} bytes is over the limit of {limit:,}"
