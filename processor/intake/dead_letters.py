"""Dead letters: records that gave no event, with their raw bytes, and how they are replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa

from processor.kafka import topics
from processor.kafka.batch_producer import OutgoingRecord
from processor.kafka.records import RECORDED_AT_HEADER, Chunk, Record, recorded_ms, text_headers
from projections.clickhouse import store
from projections.clickhouse.store import arrow_schema
from projections.tables.dead_letters import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Headers that say where a dead letter died and why; the record's own follow unchanged.
HEADER_PREFIX: Final = "sendlog-dead-"
#: Bytes of value and headers that are published; topic and producer take 16 MiB with all around.
MAX_PUBLISHED_BYTES: Final = 15 * 1024 * 1024
#: Bytes that a value leaves to headers, if they need them.
RESERVED_HEADER_BYTES: Final = 1024 * 1024
MAX_REASON_BYTES: Final = 64 * 1024
MAX_POINTER_REASON_BYTES: Final = 1000
#: At most, of the lengths of a header's name and value.
HEADER_OVERHEAD_BYTES: Final = 10
_SCHEMA: Final = arrow_schema(TABLE)


class Rejection(NamedTuple):
    """Why a record gave no event; or an element of its batch, with the `raw` bytes of that."""

    record: Record
    reason: str
    raw: bytes | None = None
    element: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record, or an element of its batch, that gave no event; where it was and why.

    `recorded_ms` is when it first arrived, in milliseconds since 1970.
    """

    topic: str
    partition: int
    offset: int
    element: int | None
    recorded_ms: int
    reason: str
    raw: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, chunk: Chunk, rejection: Rejection) -> DeadLetter:
        """Return what was rejected of a chunk as a dead letter."""
        record = rejection.record
        return cls(
            topic=chunk.topic,
            partition=chunk.partition,
            offset=record.offset,
            element=rejection.element,
            recorded_ms=recorded_ms(record),
            reason=rejection.reason,
            raw=record.value or b"" if rejection.raw is None else rejection.raw,
            headers=text_headers(record),
        )


def to_record(letter: DeadLetter) -> OutgoingRecord:
    """Return the record of a dead letter: the raw bytes as value, all else in headers.

    What would be larger than the topic takes is cut, and a header tells; the table has all of it.
    """
    headers = _headers_about(letter, MAX_REASON_BYTES)
    own = [(name, text.encode()) for name, text in letter.headers.items()]
    room = MAX_PUBLISHED_BYTES - sum(map(_header_bytes, headers))
    value = letter.raw[: room - min(sum(map(_header_bytes, own)), RESERVED_HEADER_BYTES)]
    room -= len(value)
    for cut, header in enumerate(own):
        room -= _header_bytes(header)
        if room < 0:
            headers.append((HEADER_PREFIX + "headers-cut", b"%d" % (len(own) - cut)))
            break
        headers.append(header)
    if len(value) < len(letter.raw):
        headers.append((HEADER_PREFIX + "truncated-from", b"%d" % len(letter.raw)))
    return OutgoingRecord(topics.DEAD_LETTERS_TOPIC, _place(letter), value, headers)


def to_pointer(letter: DeadLetter) -> OutgoingRecord:
    """Return what is left of a dead letter that its topic does not take: where it is, and why."""
    headers = _headers_about(letter, MAX_POINTER_REASON_BYTES)
    headers.append((HEADER_PREFIX + "truncated-from", b"%d" % len(letter.raw)))
    return OutgoingRecord(topics.DEAD_LETTERS_TOPIC, _place(letter), b"", headers)


def _place(letter: DeadLetter) -> bytes:
    return f"{letter.topic}/{letter.partition}/{letter.offset}".encode()


def _headers_about(letter: DeadLetter, max_reason_bytes: int) -> list[tuple[str, bytes]]:
    about = {
        "topic": letter.topic,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        "element": "" if letter.element is None else str(letter.element),
        "timestamp": str(letter.recorded_ms),
        "reason": letter.reason,
    }
    return [
        (HEADER_PREFIX + name, text.encode("utf-8", "replace")[:max_reason_bytes])
        for name, text in about.items()
    ]


def _header_bytes(header: tuple[str, bytes]) -> int:
    name, value = header
    return len(name.encode()) + len(value) + HEADER_OVERHEAD_BYTES


def to_rows(letters: Sequence[DeadLetter], now: datetime) -> pa.Table:
    """Return dead letters as rows of their table."""
    return pa.Table.from_pylist(
        [
            {
                "source_topic": letter.topic,
                "source_partition": letter.partition,
                "source_offset": letter.offset,
                "element": -1 if letter.element is None else letter.element,
                "recorded_at": letter.recorded_ms,
                "died_at": now.astimezone(UTC),
                "reason": letter.reason,
                "raw": letter.raw,
                "headers": list(letter.headers.items()),
                "replayed_at": None,
            }
            for letter in letters
        ],
        schema=_SCHEMA,
    )


def replay_headers(row: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Return the headers of a replayed record: its own, and when it first arrived."""
    own = [(name, value.encode()) for name, value in row["headers"].items()]
    milliseconds = int(row["recorded_at"].timestamp() * 1000)
    return [*own, (RECORDED_AT_HEADER, str(milliseconds).encode())]


def mark_replayed(client: Client, database: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record that dead letters have been published again. Raises as `store.insert` does."""
    now = datetime.now(UTC)
    replayed = [
        {**row, "replayed_at": now, "headers": list(row["headers"].items())} for row in rows
    ]
    store.insert_rows(client, database, TABLE, pa.Table.from_pylist(replayed, schema=_SCHEMA))
