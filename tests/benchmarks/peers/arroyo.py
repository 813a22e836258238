"""sentry-arroyo: batches by its BatchStep, written by a task on a thread, then its commit step.

Run as a process: BOOTSTRAP URL GROUP [RECORDS].
"""

from __future__ import annotations

import signal
import sys
from datetime import UTC

from arroyo.backends.kafka import KafkaConsumer
from arroyo.backends.kafka.configuration import build_kafka_consumer_configuration
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, ProcessingStrategyFactory, RunTaskInThreads
from arroyo.processing.strategies.batching import BatchStep
from arroyo.types import Topic

from tests.benchmarks.peers.job import TOPICS, Job, Record

RECORDS = 20_000


class Topics(KafkaConsumer):
    """A consumer of all topics: the processor knows of one only."""

    def subscribe(self, _topics, *callbacks, **more):
        super().subscribe([Topic(name) for name in TOPICS], *callbacks, **more)


class Steps(ProcessingStrategyFactory):
    def __init__(self, job, records):
        self._job, self._records = job, records

    def create_with_partitions(self, commit, _partitions):
        write = RunTaskInThreads(
            self._write, concurrency=1, max_pending_futures=2, next_step=CommitOffsets(commit)
        )
        return BatchStep(max_batch_size=self._records, max_batch_time=0.2, next_step=write)

    def _write(self, message):
        self._job(list(map(record, message.payload)))


def record(value):
    """Return a message of arroyo as the decoder wants it."""
    (partition,) = value.committable
    payload = value.payload
    return Record(
        partition.topic.name, partition.index, value.offset,
        round(value.timestamp.replace(tzinfo=UTC).timestamp() * 1000),  # it is naive, and UTC
        payload.value, payload.headers,
    )  # fmt: skip


def main(bootstrap, url, group, records=RECORDS):
    configuration = build_kafka_consumer_configuration(
        {}, group_id=group, auto_offset_reset="earliest", bootstrap_servers=[bootstrap],
        queued_min_messages=100_000, enable_auto_commit=False,
    )  # fmt: skip
    processor = StreamProcessor(
        Topics(configuration), Topic(TOPICS[0]), Steps(Job(url), int(records)), ONCE_PER_SECOND
    )
    signal.signal(signal.SIGTERM, lambda *_: processor.signal_shutdown())
    processor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
