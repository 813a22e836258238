"""A chunk of Kafka records becomes columns of events and a list of dead letters.

The hot path: validation stays in pydantic's compiled code, one call per record (measured faster
than one call over the records joined to an array: 1.9 against 2.3 µs, and a bad record is found
where it stands), and events go as columns to Arrow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple, Protocol, cast

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import NotRequired, TypedDict

from processor.feeding import chosen
from processor.lines import IN_HISTORY, Line, told
from processor.settings import Intake
from processor.topics import COMMANDS, DECISIONS, FACTS, feed_provider
from projections.store import arrow_schema
from projections.tables.dead_letters import TABLE as DEAD_LETTERS
from projections.tables.events import TABLE as EVENTS
from schemas.bounces import Rules
from schemas.decisions import Command
from schemas.events import EPOCH, KINDS, Channel, Fields, MessageEvent, fingerprint
from schemas.providers import adapters, decode, explain_validation


class Record(Protocol):
    """What is used of a Kafka client's record; `timestamp` is in milliseconds since 1970."""

    @property
    def offset(self) -> int:
        """Its place in its partition."""
        ...

    @property
    def timestamp(self) -> int | None:
        """When it was published."""
        ...

    @property
    def value(self) -> bytes | None:
        """Its bytes."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Its headers, in order."""
        ...


class Chunk(NamedTuple):
    """Records of one partition, in order; at least one. `left` are those in Kafka behind them."""

    topic: str
    partition: int
    records: Sequence[Record]
    left: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record, or an element of its batch, that gave no event."""

    topic: str
    partition: int
    offset: int
    element: int | None
    timestamp: int
    reason: str
    raw: bytes
    headers: Mapping[str, str]


@dataclass(slots=True)
class Batch:
    """What a chunk of one partition gave: events as an Arrow table, and dead letters."""

    chunk: Chunk
    events: pa.Table
    dead: list[DeadLetter] = field(default_factory=list)
    #: What the rules for retries and the blacklist are fed of it.
    facts: Sequence[Fields] = ()
    commands: Sequence[Command] = ()
    #: What it tells of the history of the blacklist.
    history: Sequence[Line] = ()

    @property
    def weight(self) -> int:
        """How much room it takes while it waits, in rows: also what gave no row has been read."""
        return max(len(self.chunk.records), int(self.events.num_rows) + len(self.dead))

    @property
    def is_bad(self) -> bool:
        """Whether all of it is dead letters."""
        return bool(self.dead) and not self.events.num_rows and not self.commands

    @property
    def size(self) -> int:
        """How many bytes its records hold."""
        return sum(len(record.value or b"") for record in self.chunk.records)

    def records_of_events(self) -> list[tuple[Chunk, Record]]:
        """Return the record of each event, in order, with its chunk."""
        by_offset = {record.offset: (self.chunk, record) for record in self.chunk.records}
        return [by_offset[offset] for offset in self.events["source_offset"].to_pylist()]


#: Replay keeps the time at which a record first arrived, for events that carry none of their own.
RECORDED_AT_HEADER: Final = "sendlog-recorded-at"
_DIGITS: Final = 13  # of a time in milliseconds until the year 2286
#: Dead letters that one record may give.
_MOST_ELEMENTS: Final = 100

EVENTS_SCHEMA: Final = arrow_schema(EVENTS)
DEAD_SCHEMA: Final = arrow_schema(DEAD_LETTERS)
_COMPUTED: Final = frozenset({"event_id", "recorded_at", "source"})


def _fact_validator() -> TypeAdapter[Fields]:
    """Return the validator of mailers' facts: `MessageEvent`, as a dict of what is given.

    A typed dict made of the model's fields validates in less than half of the model's time.
    """
    fields: dict[str, Any] = {}
    for name, about in MessageEvent.model_fields.items():
        if name not in _COMPUTED:
            kind: Any = about.annotation
            if about.metadata:
                kind = Annotated[(kind, *about.metadata)]
            if not about.is_required():
                kind = NotRequired[kind | None]
            fields[name] = kind
    return TypeAdapter(TypedDict("Fact", fields))  # type: ignore[operator]


class Decoder:
    """Turns chunks into batches; holds the validator, where feeds belong, and a bounce's rules."""

    def __init__(
        self,
        intake: Intake,
        *,
        max_record_bytes: int,
        rules: Rules | None = None,
        listed: Container[tuple[Any, Any, Any]] = (),
        feeds: bool = True,
    ) -> None:
        """Take the settings of intake, the bounce rules, and the addresses whose sends may be void.

        `feeds`: whether there are rules for retries and the blacklist, to be fed.
        """
        self._validate: Callable[[bytes], Any] = _fact_validator().validator.validate_json
        self._max_bytes = max_record_bytes
        self._tenants = intake.feeds
        self._default_tenant = intake.default_tenant
        self._rules = rules
        self._listed = listed
        self._feeds = feeds

    def __call__(self, chunk: Chunk) -> Batch:
        """Decode the records of one fetch of one partition. Never raises for what is in them."""
        try:
            return self._decode(chunk)
        except Exception as error:  # noqa: BLE001 - nobody foresaw it, and the stream must go on
            if len(chunk.records) == 1:
                reason = f"cannot be read: unexpected {type(error).__name__}"
                return _batch(chunk, [], [dead_letter(chunk, chunk.records[0], reason)])
            parts = [self(chunk._replace(records=[record])) for record in chunk.records]
            return Batch(
                chunk,
                pa.concat_tables([part.events for part in parts]),
                [letter for part in parts for letter in part.dead],
                [fact for part in parts for fact in part.facts],
                [command for part in parts for command in part.commands],
                [told for part in parts for told in part.history],
            )

    def _decode(self, chunk: Chunk) -> Batch:
        topic = chunk.topic
        if topic == COMMANDS:
            return self._commands(chunk)
        channel = FACTS.get(topic)
        if channel is not None or topic == DECISIONS:
            return self._facts(chunk, channel)
        return self._feed(chunk, topic)

    def _chosen(self, events: Sequence[Fields]) -> Sequence[Fields]:
        return chosen(events, self._listed) if self._feeds else ()

    def _commands(self, chunk: Chunk) -> Batch:
        commands: list[Command] = []
        dead: list[DeadLetter] = []
        for record in chunk.records:
            try:
                asked_at = EPOCH + timedelta(milliseconds=_recorded_at(record))
                given = from_json(record.value or b"")
                commands.append(Command.model_validate({**given, "asked_at": asked_at}))
            except ValidationError as error:
                dead.append(dead_letter(chunk, record, explain_validation(error)))
            except (TypeError, ValueError) as error:
                dead.append(dead_letter(chunk, record, f"it is no command as JSON: {error}"))
        return replace(_batch(chunk, [], dead), commands=commands)

    def _facts(self, chunk: Chunk, channel: Channel | None) -> Batch:
        events: list[Fields] = []
        dead: list[DeadLetter] = []
        history: list[Line] = []
        validate, max_bytes = self._validate, self._max_bytes
        for record in chunk.records:
            value = record.value
            if value is None or len(value) > max_bytes:
                dead.append(dead_letter(chunk, record, _size_problem(value, max_bytes)))
                continue
            try:
                event = validate(value)
            except ValidationError as error:
                dead.append(dead_letter(chunk, record, explain_validation(error)))
                continue
            if (
                (channel is not None and event["channel"] != channel)
                or event["kind"] not in KINDS[event["channel"]]
                or not event["recipient"]
                or (not event["message_id"] and channel is not None)
            ):
                dead.append(dead_letter(chunk, record, _fact_problem(event, channel)))
                continue
            event["recorded_at"] = _recorded_at(record)
            event["event_id"] = fingerprint(event)
            event["source_offset"] = record.offset
            events.append(event)
            if channel is None and event["kind"] in IN_HISTORY:
                history += told(value, event, chunk)
        batch = _batch(chunk, events, dead)
        if channel is None:
            return replace(batch, history=history)
        return replace(batch, facts=self._chosen(events))

    def _feed(self, chunk: Chunk, topic: str) -> Batch:
        channel, provider = feed_provider(topic) or ("", topic)
        adapter = adapters().get(provider)
        if adapter is None or channel != adapter.CHANNEL:
            reason = f"no adapter for provider {provider!r} of channel {channel!r}"
            return _batch(
                chunk, [], [dead_letter(chunk, record, reason) for record in chunk.records]
            )
        events: list[Fields] = []
        dead: list[DeadLetter] = []
        tenant = self._tenants.get(provider, self._default_tenant)
        for record in chunk.records:
            value = record.value
            if value is None or len(value) > self._max_bytes:
                dead.append(dead_letter(chunk, record, _size_problem(value, self._max_bytes)))
                continue
            headers = _headers(record)
            recorded_at = EPOCH + timedelta(milliseconds=_recorded_at(record))
            decoded = decode(adapter, value, headers, recorded_at, tenant, self._rules)
            for event in decoded.events:
                event["source_offset"] = record.offset
            events.extend(decoded.events)
            if len(decoded.rejected) > _MOST_ELEMENTS:
                # A letter for each would multiply the record: one for all of it.
                many = f"{len(decoded.rejected):,} elements cannot be read, the first: "
                dead.append(dead_letter(chunk, record, many + decoded.rejected[0].reason))
                continue
            dead.extend(
                dead_letter(chunk, record, part.reason, raw=part.raw, element=part.element)
                for part in decoded.rejected
            )
        return replace(_batch(chunk, events, dead), facts=self._chosen(events))


def _fact_problem(event: Fields, channel: Channel | None) -> str:
    """Say what the validator could not see to be wrong with a mailer's fact."""
    if channel is not None and event["channel"] != channel:
        return f"channel: {event['channel']!r} on the topic of {channel}"
    if event["kind"] not in KINDS[cast("Channel", event["channel"])]:
        return f"kind: {event['kind']!r} is not a kind of {event['channel']}"
    return "message_id: empty" if not event["message_id"] else "recipient: empty"


def _size_problem(value: bytes | None, limit: int) -> str:
    if value is None:
        return "the record has no value"
    return f"value of {len(value):,} bytes is over the limit of {limit:,}"


def _recorded_at(record: Record) -> int:
    """Return when a record first arrived, in milliseconds since 1970."""
    if not record.headers:
        return record.timestamp or 0
    for name, value in record.headers:
        if name == RECORDED_AT_HEADER and value and value.isdigit() and len(value) <= _DIGITS:
            return int(value)
    return record.timestamp or 0


def _headers(record: Record) -> dict[str, str]:
    return {
        name.lower(): (value or b"").decode("utf-8", "replace")
        for name, value in record.headers or ()
    }


def dead_letter(
    chunk: Chunk,
    record: Record,
    reason: str,
    *,
    raw: bytes | None = None,
    element: int | None = None,
) -> DeadLetter:
    """Return a record of a chunk, or the `raw` bytes of an element of it, as a dead letter."""
    return DeadLetter(
        topic=chunk.topic,
        partition=chunk.partition,
        offset=record.offset,
        element=element,
        timestamp=_recorded_at(record),
        reason=reason,
        raw=record.value or b"" if raw is None else raw,
        headers=_headers(record),
    )


def _batch(chunk: Chunk, events: list[Fields], dead: list[DeadLetter]) -> Batch:
    """Turn events, each with its `source_offset`, into columns.

    Events of one shape (the same fields set, in the same order) are turned over together: each
    dict is read once, from front to back. That is four times as fast as asking every event for
    every column, which misses the processor's cache at each (0.5 against 2.1 µs per event). The
    order of rows is of no account.
    """
    shapes: defaultdict[tuple[str, ...], list[Iterable[object]]] = defaultdict(list)
    for event in events:
        shapes[tuple(event)].append(event.values())
    tables = [EVENTS_SCHEMA.empty_table()]
    for names, rows in shapes.items():
        given = dict(zip(names, zip(*rows, strict=True), strict=True))
        given["source_topic"] = (chunk.topic,) * len(rows)
        given["source_partition"] = (chunk.partition,) * len(rows)
        columns = [
            pa.array(given[column.name], column.type)
            if column.name in given
            else pa.nulls(len(rows), column.type)
            for column in EVENTS_SCHEMA
        ]
        tables.append(pa.Table.from_arrays(columns, schema=EVENTS_SCHEMA))
    return Batch(chunk, pa.concat_tables(tables), dead)


def dead_letter_rows(letters: Sequence[DeadLetter], now: datetime) -> pa.Table:
    """Return dead letters as rows of their table."""
    return pa.Table.from_pylist(
        [
            {
                "source_topic": letter.topic,
                "source_partition": letter.partition,
                "source_offset": letter.offset,
                "element": -1 if letter.element is None else letter.element,
                "recorded_at": letter.timestamp,
                "died_at": now.astimezone(UTC),
                "reason": letter.reason,
                "raw": letter.raw,
                "headers": list(letter.headers.items()),
                "replayed_at": None,
            }
            for letter in letters
        ],
        schema=DEAD_SCHEMA,
    )
