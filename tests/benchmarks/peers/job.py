"""The job that all peers do: records in, with Sendlog's own decoder; rows out, by its own insert.

What differs between peers is how they read and batch, and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa

from processor.intake.dead_letters import DeadLetter, to_rows
from processor.intake.decoder import Decoder
from processor.kafka.records import Chunk
from processor.settings import IntakeSettings, KafkaSettings
from projections.clickhouse.store import insert_rows
from projections.tables.dead_letters import TABLE as DEAD_LETTERS
from projections.tables.events import TABLE as EVENTS
from tests.clickhouse import connect_to

DATABASE = "sendlog"
TOPICS = ("email.sends", "sms.sends", "email.events.ses")


class Record(NamedTuple):
    """What the decoder wants of a record."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # milliseconds since 1970
    value: bytes
    headers: tuple = ()


class Job:
    """Decodes records of any partitions and writes them in one insert; then they may be committed.

    May be called from any thread, one at a time.
    """

    def __init__(self, url, database=DATABASE):
        self._client = connect_to(url)
        self._database = database
        self._decode = Decoder(
            IntakeSettings(),
            max_record_bytes=KafkaSettings().max_record_bytes,
            policy_partitions=0,
        )

    def __call__(self, records):
        events, dead_letters = self.decode(records)
        if dead_letters:
            self._write(DEAD_LETTERS, to_rows(dead_letters, datetime.now(UTC)))
        self.write(events)

    def decode(self, records):
        """Return the events of records as an Arrow table, and the dead letters."""
        partitions = defaultdict(list)
        for record in records:
            partitions[record.topic, record.partition].append(record)
        decoded = [self._decode(Chunk(*place, chunk)) for place, chunk in partitions.items()]
        dead_letters = [
            DeadLetter.of(one.chunk, rejection) for one in decoded for rejection in one.rejections
        ]
        return pa.concat_tables([one.events for one in decoded]), dead_letters

    def write(self, events):
        if events.num_rows:
            self._write(EVENTS, events)

    def _write(self, table, rows):
        insert_rows(self._client, self._database, table, rows)


def from_confluent(message):
    """Return a record of confluent-kafka as the decoder wants it."""
    return Record(
        message.topic(), message.partition(), message.offset(), message.timestamp()[1],
        message.value(), message.headers() or (),
    )  # fmt: skip
