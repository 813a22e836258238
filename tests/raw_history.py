"""A past as workers would have left it: raw records of the demo's business, and their events."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice
from zlib import crc32

from processor.demo.traffic import Pace, disturbed, messages
from processor.intake import raw_records
from processor.intake.decoder import Decoder
from processor.kafka.records import Chunk
from processor.replay.records import RawRecord
from processor.settings import IntakeSettings
from projections.clickhouse.store import insert_rows
from projections.tables.events import TABLE as EVENTS
from projections.tables.raw_records import TABLE as RAW_RECORDS

START = datetime(2026, 11, 1, tzinfo=UTC)
PARTITIONS = 3
PACE = Pace(gap=2.0)


def decoder():
    return Decoder(IntakeSettings(), max_record_bytes=1_000_000, policy_partitions=0)


def demo_records(count, *, seed=1, pace=PACE):
    """Yield the records of so many messages, some twice and some late, each with its place."""
    offsets = defaultdict(int)
    story = islice(messages(seed, START - timedelta(days=14), pace=pace), count)
    for topic, key, value, headers, timestamp in disturbed(story, seed, window=500):
        place = topic, crc32(key) % PARTITIONS
        yield RawRecord(*place, offsets[place], timestamp, tuple(headers), value)
        offsets[place] += 1


def put_history(client, database, records, *, chunk_records=5_000, decode=None):
    """Store records and their events, as intake does; return how many events there were."""
    decode, count = decode or decoder(), 0
    records = iter(records)
    while batch := list(islice(records, chunk_records)):
        by_place = defaultdict(list)
        for record in batch:
            by_place[record[:2]].append(record)
        for place, of_one in by_place.items():
            decoded = decode(Chunk(*place, of_one))
            insert_rows(client, database, RAW_RECORDS, raw_records.to_rows([decoded]))
            insert_rows(client, database, EVENTS, decoded.events)
            count += decoded.events.num_rows
    return count
