"""The raw record of every event: what a log can be derived from again, years after Kafka has it."""

from __future__ import annotations

from typing import Final

from projections.tables import Table

#: Neighbours are alike, and the more of them a block has, the less each takes (E-085).
_BLOCK_BYTES: Final = 8 * 1024 * 1024
#: A merge reads and writes every byte again, and nobody waits for one: few large ones (E-086).
_MIN_MERGED_PARTS: Final = 16

TABLE: Final = Table(
    name="raw_records",
    comment="Kafka records that gave events, as they came; those rejected are in dead_letters",
    columns={
        "topic": "LowCardinality(String)",
        "partition": "Int32 CODEC(ZSTD(1))",
        "offset": "Int64 CODEC(Delta, ZSTD(1))",
        # As Kafka has it, in milliseconds since 1970: also one that is no time.
        "timestamp": "Int64 CODEC(Delta, ZSTD(1))",
        # A header may come twice, and may have no value.
        "headers": "Array(Tuple(name String, value Nullable(String))) CODEC(ZSTD(1))",
        "value": "String CODEC(ZSTD(1))",
    },
    computed={
        # What retention counts from: a record's own time may be any.
        "stored_on": "Date MATERIALIZED toDate(now('UTC')) CODEC(ZSTD(1))",
    },
    # A topic that was made anew has its offsets again, at other times.
    order_by=("topic", "partition", "offset", "timestamp"),
    version="",
    shard_by=("topic", "partition"),
    settings=(
        f"min_compress_block_size = {_BLOCK_BYTES}, max_compress_block_size = {_BLOCK_BYTES}, "
        f"min_parts_to_merge_at_once = {_MIN_MERGED_PARTS}"
    ),
)
