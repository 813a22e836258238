"""Dead letters: published with their raw bytes unchanged, and brought back after a fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from processor.intake.decoder import DEAD_SCHEMA, RECORDED_AT_HEADER, DeadLetter
from processor.kafka import topics
from processor.kafka.batch_producer import Outgoing
from projections.clickhouse import store
from projections.tables.dead_letters import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Headers that say of a dead letter where it died and why; the record's own follow unchanged.
PREFIX: Final = "sendlog-dead-"


#: Bytes of a raw value that are published; topic and producer take 16 MiB with the headers.
LARGEST: Final = 15 * 1024 * 1024


def to_record(letter: DeadLetter) -> Outgoing:
    """Return the record of a dead letter: the raw bytes as value, all else in headers."""
    place = f"{letter.topic}/{letter.partition}/{letter.offset}"
    about = {
        "topic": letter.topic,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        "element": "" if letter.element is None else str(letter.element),
        "timestamp": str(letter.timestamp),
        "reason": letter.reason,
    }
    headers = [(PREFIX + name, text.encode()) for name, text in about.items()]
    headers += [(name, text.encode()) for name, text in letter.headers.items()]
    if len(letter.raw) > LARGEST:
        # With its headers it would be larger than the topic takes; the table has all of it.
        headers.append((PREFIX + "truncated-from", str(len(letter.raw)).encode()))
    return Outgoing(topics.DEAD_LETTERS, place.encode(), letter.raw[:LARGEST], headers)


def replay_headers(letter: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Return the headers of a replayed record: its own, and when it first arrived."""
    own = [(name, value.encode()) for name, value in letter["headers"].items()]
    milliseconds = int(letter["recorded_at"].timestamp() * 1000)
    return [*own, (RECORDED_AT_HEADER, str(milliseconds).encode())]


def mark_replayed(client: Client, database: str, letters: Sequence[Mapping[str, Any]]) -> None:
    """Record that dead letters have been published again. Raises as `store.insert` does."""
    now = datetime.now(UTC)
    rows = [
        {**letter, "replayed_at": now, "headers": list(letter["headers"].items())}
        for letter in letters
    ]
    store.insert(client, database, TABLE, pa.Table.from_pylist(rows, schema=DEAD_SCHEMA))
