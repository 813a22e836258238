"""Records of tests, that know their place, as the chunks that a worker has of them."""

from __future__ import annotations

from processor.kafka.records import Chunk


def chunk_of(records):
    """Return records of one partition as a chunk."""
    return Chunk(records[0].topic, records[0].partition, records)
