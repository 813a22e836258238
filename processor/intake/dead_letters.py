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
#: Bytes of a raw value that are published; topic and producer take 16 MiB with the headers.
MAX_PUBLISHED_BYTES: Final = 15 * 1024 * 1024
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
    """Return the record of a dead letter: the raw bytes as value, all else in headers."""
    place = f"{letter.topic}/{letter.partition}/{letter.offset}"
    about = {
        "topic": letter.topic,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        "element": "" if letter.element is None else str(letter.element),
        "timestamp": str(letter.recorded_ms),
        "reason": letter.reason,
    }
    headers = [(HEADER_PREFIX + name, text.encode()) for name, text in about.items()]
    headers += [(name, text.encode()) for name, text in letter.headers.items()]
    if len(letter.raw) > MAX_PUBLISHED_BYTES:
        # With its headers it would be larger than the topic takes; the table has all of it.
        headers.append((HEADER_PREFIX + "truncated-from", str(len(letter.raw)).encode()))
    value = letter.raw[:MAX_PUBLISHED_BYTES]
    return OutgoingRecord(topics.DEAD_LETTERS_TOPIC, place.encode(), value, headers)


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
