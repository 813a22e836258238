"""A chunk of Kafka records becomes message events, and rejections of what gives none.

The hot path: validation stays in pydantic's compiled code, one call per record (E-024), and events
go as columns to Arrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
from pydantic import Discriminator, TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import NotRequired, TypedDict

from processor import metrics
from processor.intake.arrow import assign_ids, group_events, table_of
from processor.intake.dead_letters import Rejection
from processor.intake.normal_form import bound_times, normalise_recipients
from processor.intake.policy_feed import chosen_events, to_records
from processor.intake.suppression_history import HISTORY_KINDS, HistoryRow, history_rows
from processor.kafka.batch_producer import OutgoingRecord
from processor.kafka.records import (
    RECORDED_AT_HEADER,
    Chunk,
    Record,
    plausible_ms,
    recorded_ms,
    text_headers,
)
from processor.kafka.topics import COMMANDS_TOPIC, DECISIONS_TOPIC, MAILER_CHANNELS, feed_provider
from processor.settings import IntakeSettings
from schemas.addresses import Address, NumberRegions
from schemas.bounces import BounceRules
from schemas.decisions import Command
from schemas.events import (
    EPOCH,
    KINDS_BY_CHANNEL,
    Channel,
    EventFields,
    Identifier,
    MessageEvent,
    Recipient,
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
#: Fields for texts of any length, beside the tags; all others of an event are a few kB at most.
LONG_FIELDS: Final = ("subject", "text", "diagnostic", "url", "user_agent")
_COMPUTED: Final = frozenset(
    {"event_id", "other_id", "recipient_error", "recorded_at", "source", "adapter_version"}
)


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

    @property
    def row_count(self) -> int:
        """How much room it takes while it waits, in rows: what gave no row has been read, too."""
        rows = int(self.events.num_rows) + len(self.rejections)
        return max(len(self.chunk.records), rows)

    @property
    def byte_count(self) -> int:
        """How much memory it takes while it waits, in bytes: its records and what they became."""
        records = sum(len(record.value or b"") for record in self.chunk.records)
        elements = sum(len(rejection.raw or b"") for rejection in self.rejections)
        fed = sum(len(record.value or b"") for record in self.policy_records)
        return records + elements + fed + int(self.events.nbytes)

    @property
    def is_all_rejected(self) -> bool:
        """Whether nothing but rejections came of it."""
        return bool(self.rejections) and not self.events.num_rows and not self.policy_records

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
    ) -> None:
        """Take the settings, the bounce rules, and addresses whose sends the policy has to see.

        `resolve` gives unmatched events the ids of their messages, as far as they are known.
        `regions` are the countries of numbers that name none. `policy_partitions`: how many
        `delivery.policy` has; 0: no policy is in force.
        """
        self._validate: dict[Channel | None, Callable[[bytes], Any]] = {
            **{channel: _event_validator(channel) for channel in KINDS_BY_CHANNEL},
            None: _event_validator(*KINDS_BY_CHANNEL, message_id_required=False),
        }
        self._max_bytes = max_record_bytes
        self._tenants = settings.feeds
        self._default_tenant = settings.default_tenant
        self._rules = rules
        self._suppressed = suppressed
        self._policy_partitions = policy_partitions
        self._regions = regions or NumberRegions()
        self._resolve = resolve

    def __call__(self, chunk: Chunk) -> DecodedChunk:
        """Decode the records of one fetch of one partition."""
        try:
            return self._decode(chunk)
        except Exception as error:  # noqa: BLE001 - nobody foresaw it, and the stream must go on
            if len(chunk.records) == 1:
                reason = f"cannot be read: unexpected {type(error).__name__}"
                return self._decoded(chunk, [], [Rejection(chunk.records[0], reason)])
            parts = [self(chunk._replace(records=[record])) for record in chunk.records]
            return DecodedChunk(
                chunk,
                pa.concat_tables([part.events for part in parts]),
                [rejection for part in parts for rejection in part.rejections],
                [record for part in parts for record in part.policy_records],
                [row for part in parts for row in part.history],
            )

    def _decode(self, chunk: Chunk) -> DecodedChunk:
        topic = chunk.topic
        if topic == COMMANDS_TOPIC:
            return self._commands(chunk)
        channel = MAILER_CHANNELS.get(topic)
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
        policy_records: Sequence[OutgoingRecord] = ()
        if self._policy_partitions:
            chosen = chosen_events(events, self._suppressed)
            policy_records = to_records(chosen, commands, self._policy_partitions)
        table = table_of(groups, chunk.topic, chunk.partition, adapter_version)
        return DecodedChunk(chunk, table, rejections, policy_records)

    def _commands(self, chunk: Chunk) -> DecodedChunk:
        commands: list[Command] = []
        rejections: list[Rejection] = []
        for record in chunk.records:
            try:
                requested_at = EPOCH + timedelta(milliseconds=recorded_ms(record))
                command = from_json(record.value or b"")
                commands.append(
                    Command.model_validate(
                        {**command, "asked_at": requested_at}, context={"regions": self._regions}
                    )
                )
            except ValidationError as error:
                rejections.append(Rejection(record, explain_validation(error)))
            except (TypeError, ValueError) as error:
                rejections.append(Rejection(record, f"it is no command as JSON: {error}"))
        return self._decoded(chunk, [], rejections, commands)

    def _events(self, chunk: Chunk, channel: Channel | None) -> DecodedChunk:
        """Decode a mailer's events of a channel; without one, our own decisions of any."""
        events: list[EventFields] = []
        rejections: list[Rejection] = []
        decisions: list[tuple[bytes, EventFields]] = []
        validate, max_bytes = self._validate[channel], self._max_bytes
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
        unmatched = [event for event in events if is_unmatched(event)]
        self._resolve(unmatched)
        counts = Counter(event["tenant_id"] for event in unmatched if is_unmatched(event))
        for tenant, count in counts.items():
            labels = {"provider": provider, "tenant": metrics.tenant_label(tenant)}
            metrics.UNMATCHED_EVENTS_TOTAL.labels(**labels).inc(count)
        return self._decoded(chunk, events, rejections, adapter_version=version_of(adapter))


def _event_validator(
    *channels: Channel, message_id_required: bool = True
) -> Callable[[bytes], Any]:
    """Return what reads an event of some channel as a dict of what is set, as `MessageEvent` would.

    A typed dict made of the model's fields validates in less than half of the model's time (E-025).
    Raises `ValidationError`.
    """
    kinds = (_event_type(each, message_id_required=message_id_required) for each in channels)
    event: Any = reduce(or_, kinds)
    if len(channels) > 1:
        event = Annotated[event, Discriminator("channel")]
    return TypeAdapter(event).validator.validate_json


def _event_type(channel: Channel, *, message_id_required: bool) -> Any:
    """Return the type of a channel's events as they are published."""
    fields: dict[str, Any] = {}
    for name, about in MessageEvent.model_fields.items():
        if name not in _COMPUTED:
            kind: Any = about.annotation
            if about.metadata:
                kind = Annotated[(kind, *about.metadata)]
            if not about.is_required():
                kind = NotRequired[kind | None]
            fields[name] = kind
    fields["channel"] = Literal[channel]
    fields["kind"] = Literal[tuple(sorted(KINDS_BY_CHANNEL[channel]))]
    fields["recipient"] = Recipient
    if message_id_required:
        fields["message_id"] = Identifier
    return TypedDict("Event", fields)  # type: ignore[operator]


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
